"use strict";
// Shows one prompt at a time. Every text becomes a text node.
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
  // Formats a number as tables do: integers bare, small numbers in scientific notation, halves away from 0.
  const format = (value) => {
    const size = Math.abs(Number(value.toPrecision(12)));
    const fixed = (places) =>
      Number(Math.round(Number(`${size}e${places}`)) + `e-${places}`).toFixed(places);
    let text;
    if (Number.isInteger(value)) text = String(size);
    else if (size < 0.001) text = size.toExponential(1).replace(".0e", "e").replace("e+", "e");
    else text = fixed(size < 100 ? 3 : size < 1000 ? 1 : 0);
    return value < 0 ? `-${text}` : text;
  };
  const verdict = (score) => {
    if (score === null) return element("span", "unscored", "soft");
    if (data["has-rubric"]) return element("b", `score ${format(score)}`);
    return element("span", score === 1 ? "right" : "wrong", score === 1 ? "right" : "wrong");
  };
  const line = (...parts) => {
    const made = element("div");
    for (const part of parts) {
      made.append(part, " ");
    }
    return made;
  };

  const folded = (summary, ...parts) => {
    const made = element("details");
    made.append(element("summary", summary), ...parts);
    return made;
  };
  const numbers = (measures) =>
    Object.entries(measures)
      .map(([name, value]) => `${name} ${format(value)}`)
      .join(", ");
  const verdicts = (judged) => {
    const failed = judged.filter((one) => one.failed).length;
    const met = judged.filter((one) => one.met).length;
    const summary = `${judged.length} verdicts, ${met} met, ${failed} failed`;
    const rows = judged.map((one) => {
      const name = one.met === true ? "right" : one.met === false ? "wrong" : "soft";
      const margin = one.margin === null ? [] : [`margin ${format(one.margin)}`];
      const facts = [`${one.points} points`, one["num-attempts"] === 1 ? "1 reply" : `${one["num-attempts"]} replies`, ...margin];
      const row = line(
        element("span", one.answer, name),
        element("span", one.criterion),
        element("span", facts.join(" · "), "soft"),
      );
      if (one.reply) row.append(folded("the judge's reply", element("pre", one.reply)));
      return row;
    });
    return folded(summary, ...rows);
  };
  const rewardOf = (reward, index) => {
    const one = reward.rollouts[index];
    const value = !one || one.value === null ? "no reward" : `reward ${format(one.value)}`;
    const made = line(
      element("span", reward.name),
      element("b", value),
      element("span", one ? one.reason : reward.failure, "soft"),
    );
    if (one && one.judged.length) made.append(verdicts(one.judged));
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
    body.append(folded("full prompt", element("pre", prompt.asked)));
    if (prompt.label) body.append(line(element("b", "label"), element("code", prompt.label)));
    for (const reference of prompt.references) {
      const bound = reference["sees-labels"] ? " (sees labels)" : "";
      const made = element("div");
      const answer = reference.answer ?? "no answer";
      made.append(
        line(
          element("b", reference.name + bound),
          element("span", reference.origin),
          ...(data["has-rubric"] ? [] : [element("code", answer)]),
          verdict(reference.score),
          element("span", [reference.reason, numbers(reference.measures)].join(" · "), "soft"),
        ),
      );
      if (reference.text !== null) {
        made.append(folded("the pseudo-reference", element("pre", reference.text)));
      }
      reference.replies.forEach((reply, index) => {
        made.append(folded(`full reply ${index + 1}`, element("pre", reply)));
      });
      if (reference.judged.length) made.append(verdicts(reference.judged));
      body.append(made);
    }
    for (const reward of prompt.rewards) {
      const bound = reward["sees-labels"] ? " (sees labels)" : "";
      const made = line(
        element("b", reward.name + bound),
        element("span", [numbers(reward.measures), reward.failure ?? ""].join(" "), "soft"),
      );
      if (reward.rubric.length) {
        const list = element("ol");
        list.append(...reward.rubric.map((text) => element("li", text)));
        made.append(folded(`rubric of ${reward.rubric.length} criteria`, list));
      }
      body.append(made);
    }
    prompt.rollouts.forEach((rollout, index) => {
      const made = element("div", undefined, "rollout");
      const group = rollout.class === null ? "no answer class · " : `class ${rollout.class} · `;
      const facts = `${data["has-rubric"] ? "" : group}${rollout["num-tokens"]} tokens · ${rollout.finish} · logprob ${format(rollout.logprob)} · ${rollout.extraction} · ${rollout.reason}`;
      made.append(
        line(
          element("b", `rollout ${index}`),
          ...(data["has-rubric"] ? [] : [element("code", rollout.answer ?? "no answer")]),
          verdict(rollout.score),
          element("span", facts, "soft"),
        ),
        ...prompt.rewards.map((reward) => rewardOf(reward, index)),
        element("pre", rollout.text),
      );
      if (rollout.judged.length) made.append(verdicts(rollout.judged));
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
