"use strict";
// Shows one prompt at a time. Every text enters the page as a text node.
for (const root of document.querySelectorAll(".explorer")) {
  const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const body = root.querySelector(".prompt");
  const count = root.querySelector(".count");
  const filter = root.querySelector("select");
  const search = root.querySelector("input");
  let shown = data.prompts;
  let at = 0;

  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const verdict = (score) =>
    score === null
      ? element("span", "unscored", "soft")
      : element("span", score === 1 ? "right" : "wrong", score === 1 ? "right" : "wrong");
  const line = (...parts) => {
    const made = element("div");
    for (const part of parts) {
      made.append(part, " ");
    }
    return made;
  };

  const show = () => {
    body.replaceChildren();
    count.textContent = shown.length ? `${at + 1} of ${shown.length}` : "none";
    if (!shown.length) return;
    const prompt = shown[at];
    const tags = Object.entries(prompt.tags).map(([key, value]) => `${key} ${value}`);
    body.append(element("div", [prompt.id, ...tags, ...prompt.flags].join(" · "), "soft"));
    body.append(element("pre", prompt.question));
    const asked = element("details");
    asked.append(element("summary", "the whole prompt"), element("pre", prompt.asked));
    body.append(asked, line(element("b", "label"), element("code", prompt.label)));
    for (const reference of prompt.references) {
      const bound = reference["sees-labels"] ? " (sees labels)" : "";
      const measures = Object.entries(reference.measures).map(([k, v]) => `${k} ${+v.toFixed(3)}`);
      body.append(
        line(
          element("b", reference.aggregator + bound),
          element("span", reference.origin),
          element("code", reference.answer ?? "no answer"),
          verdict(reference.score),
          element("span", measures.join(", "), "soft"),
        ),
      );
    }
    prompt.rollouts.forEach((rollout, index) => {
      const made = element("div", undefined, "rollout");
      const group = rollout.class === null ? "abstains" : `class ${rollout.class}`;
      const facts = `${group} · ${rollout["num-tokens"]} tokens · ${rollout.finish} · logprob ${rollout.logprob.toFixed(2)} · ${rollout.extraction} · ${rollout.reason}`;
      made.append(
        line(
          element("b", `rollout ${index}`),
          element("code", rollout.answer ?? "no answer"),
          verdict(rollout.score),
          element("span", facts, "soft"),
        ),
        element("pre", rollout.text),
      );
      body.append(made);
    });
  };
  const select = () => {
    const wanted = search.value.toLowerCase();
    shown = data.prompts.filter(
      (prompt) =>
        (!filter.value || prompt.flags.includes(filter.value)) &&
        (!wanted || (prompt.id + " " + prompt.question).toLowerCase().includes(wanted)),
    );
    at = 0;
    show();
  };
  const flags = [...new Set(data.prompts.flatMap((prompt) => prompt.flags))].sort();
  for (const flag of flags) {
    const number = data.prompts.filter((prompt) => prompt.flags.includes(flag)).length;
    const option = element("option", `${flag} (${number})`);
    option.value = flag;
    filter.append(option);
  }
  const step = (by) => () => {
    if (shown.length) at = (at + by + shown.length) % shown.length;
    show();
  };
  root.querySelector(".back").addEventListener("click", step(-1));
  root.querySelector(".forth").addEventListener("click", step(1));
  filter.addEventListener("change", select);
  search.addEventListener("input", select);
  show();
}
