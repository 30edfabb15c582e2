"use strict";
// Shows a group, or two beside each other. Every text becomes a text node.
const preceptorGroup = (() => {
  const { visible, markdown, format, LONGEST_MARKDOWN } = preceptorText;
  // Longer texts are folded.
  const FOLDED = 3000;
  // Longer texts are not compared word by word.
  const LONGEST_DIFF = 20000;

  // Makes an element. `given` has attributes, and listeners as functions; texts become text nodes.
  const h = (tag, given, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(given ?? {})) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== undefined && value !== null) made.setAttribute(name, visible(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      made.append(child instanceof Node ? child : visible(child));
    }
    return made;
  };

  const grow = (node) => {
    if (node.text !== undefined) return document.createTextNode(node.text);
    if (node.maths !== undefined) {
      const made = h("span", { class: node.display ? "display" : "inline" });
      try {
        globalThis.temml.render(node.maths, made, { displayMode: node.display, throwOnError: true, maxExpand: 200, maxSize: [20, 20] });
      } catch (error) {
        made.replaceChildren(h("code", { class: "no-maths", title: `not valid TeX: ${error.message}` }, node.maths));
      }
      return made;
    }
    const made = document.createElement(node.tag);
    if (node.start) made.start = node.start;
    made.append(...node.children.map(grow));
    return made;
  };

  const render = (text, raw) => {
    const tree = raw || text.length > LONGEST_MARKDOWN ? null : markdown(text);
    return tree ? h("div", { class: "prose" }, grow(tree)) : h("pre", null, text);
  };

  // Shows a text of a slice; a long one is folded, and a very long one is loaded when it is opened.
  const textView = (held, context) => {
    if (typeof held === "string" && held.length <= FOLDED) return render(held, context.raw);
    const head = typeof held === "string" ? held.slice(0, FOLDED / 2) : held.head;
    const length = typeof held === "string" ? held.length : held.length;
    const made = h("div", null, render(head + " …", context.raw));
    const button = h("button", {
      type: "button",
      click: async () => {
        button.disabled = true;
        try {
          const whole = typeof held === "string" ? held : await explorer.load(explorer.files.long(held.long));
          made.replaceChildren(render(whole, context.raw));
        } catch (error) {
          made.append(h("p", { role: "alert", class: "error" }, error.message));
        }
      },
    }, `Show all ${length} characters`);
    made.append(button);
    return made;
  };

  const folded = (summary, ...parts) => h("details", null, h("summary", null, summary), parts);

  const scoreView = (score, context) => {
    if (score === null || score === undefined) return h("span", { class: "soft" }, "unscored");
    if (context.hasRubric) return h("b", null, `score ${format(score)}`);
    return h("span", { class: score === 1 ? "right" : "wrong" }, score === 1 ? "✓ right" : "✗ wrong");
  };

  const numbers = (measures) =>
    Object.entries(measures)
      .map(([name, value]) => `${name.replaceAll("-", " ")} ${format(value)}`)
      .join(", ");

  // Copies a key, as the command that prints the record.
  const keyView = (key, stage) => {
    const command = `preceptor show '${key.replaceAll("'", "'\\''")}' --stage ${stage.slice(0, 12)}`;
    const button = h("button", {
      type: "button",
      class: "copy",
      "aria-label": `Copy the command that prints record ${key}`,
      title: command,
      click: async () => {
        try {
          await navigator.clipboard.writeText(command);
          button.textContent = "copied";
        } catch {
          button.replaceWith(h("code", null, command));
        }
      },
    }, "copy");
    return h("span", null, "record ", h("code", null, key), " ", button);
  };

  const labelView = (one, subject, context) => {
    const { labels } = context;
    const label = { ...subject, criterion: context.text(one.criterion) };
    if (typeof label.criterion !== "string" || typeof label.response !== "string") {
      return h("p", { class: "soft" }, "This text is too long to label here.");
    }
    const known = () => labels.get(label);
    const made = h("div", { class: "label", role: "group", "aria-label": "Your label" });
    const choices = one.met === null ? [["met", true], ["not met", false]] : [["agree", one.met], ["disagree", !one.met]];
    const note = h("input", {
      type: "text",
      "aria-label": "Note on this label",
      placeholder: "note",
      change: () => {
        if (known()) labels.set({ ...known(), note: note.value });
      },
    });
    const show = () => {
      made.replaceChildren(
        ...choices.map(([name, value]) =>
          h("button", {
            type: "button",
            "aria-pressed": String(known()?.label === value),
            click: () => {
              if (known()?.label === value) labels.delete(label);
              else labels.set({ ...label, label: value, verdict: one.answer, note: note.value });
              show();
            },
          }, name),
        ),
        note,
      );
      note.value = known()?.note ?? "";
      note.hidden = !known();
    };
    show();
    return made;
  };

  const verdicts = (judged, judge, subject, context) => {
    const failed = judged.filter((one) => one.failed).length;
    const met = judged.filter((one) => one.met).length;
    const what = judged.every((one) => one.rated) ? "ratings" : `verdicts, ${met} met`;
    const rows = judged.map((one) => {
      const name = one.met === true ? "right" : one.met === false ? "wrong" : "soft";
      const tries = one.attempts === 1 ? "1 reply" : `${one.attempts} replies`;
      const facts = [`${format(one.points)} points`, tries];
      if (one.margin !== null) facts.push(`margin ${format(one.margin)}`);
      const reply = context.text(one.reply);
      return h("li", null,
        h("span", { class: name }, one.answer), " ",
        h("span", null, context.textNode(one.criterion)), " ",
        h("span", { class: "soft" }, facts.join(" · ")),
        reply === "" ? null : folded("the judge's reply", textView(reply, { ...context, raw: true })),
        one.rated ? null : labelView(one, subject, context));
    });
    return folded(`${judged.length} ${what}, ${failed} failed`,
      judge ? h("p", { class: "soft" }, "judge: ", judge) : null,
      h("ol", { class: "verdicts" }, rows));
  };

  // Describes a judge: its name, where there is one, and what its stage depends on.
  const judgeOf = (context, stage, name) => {
    const fields = context.index.specs[stage]?.fields;
    const judge = fields?.judge ?? fields?.data?.judge;
    if (!judge) return name ?? null;
    const settings = (of) => Object.entries(of ?? {}).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`);
    const parts = [name, ...settings(judge.settings), ...settings(judge.sampling)];
    if (judge.attempts) parts.push(`attempts ${judge.attempts}`);
    for (const [key, value] of Object.entries(judge.model ?? {})) {
      if (typeof value === "string") parts.push(`${key} ${/^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value}`);
    }
    if (judge.prompt) parts.push(`prompt ${String(judge.prompt).slice(0, 12)}`);
    return parts.filter(Boolean).join(" · ");
  };

  const wordDiff = (a, b, isA) => {
    if (a.length + b.length > LONGEST_DIFF) {
      return h("div", null, h("p", { class: "soft" }, "Too long to compare word by word."), h("pre", null, isA ? a : b));
    }
    const parts = globalThis.Diff.diffWordsWithSpace(a, b);
    const kept = parts.filter((part) => (isA ? !part.added : !part.removed));
    return h("pre", null, kept.map((part) => (part.added || part.removed ? h("mark", null, part.value) : part.value)));
  };

  const estimateText = (side) => {
    const view = side.group.estimates[side.estimate];
    if (!view) return null;
    if (view.text !== null) return side.text(view.text);
    return view.rollout === null ? null : side.text(side.group.rollouts[view.rollout].text);
  };

  // Marks a fact that differs between A and B.
  const fact = (differs, ...children) =>
    h("span", differs ? { class: "differs", title: "differs between A and B" } : null, children, differs ? h("span", { class: "visually-hidden" }, " (differs)") : null);

  const estimateView = (side, other, context) => {
    const part = side.set.estimates[side.estimate];
    const view = part && side.group.estimates[side.estimate];
    if (!part) return h("p", { class: "soft" }, "No estimate is made from these groups.");
    if (!view) return h("p", { class: "soft" }, `${part.name} does not cover this prompt.`);
    const peer = other?.group?.estimates[other.estimate];
    const text = estimateText(side);
    const otherText = other?.group ? estimateText(other) : null;
    const isCompared = peer && typeof text === "string" && typeof otherText === "string" && text !== otherText;
    const subject = { prompt: context.asked, response: text, record: side.group.key };
    return h("div", null,
      h("p", null,
        fact(peer && peer.origin !== view.origin, view.origin), " ",
        context.hasRubric || view.answer === null && part.grades === undefined ? null : fact(peer && peer.answer !== view.answer, h("code", null, view.answer ?? "no answer")), " ",
        fact(peer && peer.score !== view.score, scoreView(view.score, context))),
      h("p", { class: "soft" }, [view.reason, numbers(view.measures)].filter(Boolean).map((text) => `${text} · `), keyView(side.group.key, part.stage), part["sees-labels"] ? " · sees labels" : ""),
      text === null ? null : isCompared && context.raw ? wordDiff(side.name === "A" ? text : otherText, side.name === "A" ? otherText : text, side.name === "A") : textView(text, context),
      isCompared && !context.raw ? folded("differences, word by word", wordDiff(side.name === "A" ? text : otherText, side.name === "A" ? otherText : text, side.name === "A")) : null,
      (view.replies ?? []).map((reply, i) => folded(`full reply ${i + 1}`, textView(side.text(reply), context))),
      view.judged ? verdicts(view.judged, judgeOf(context, part.grades), subject, { ...context, text: side.text, textNode: side.textNode }) : null);
  };

  const rewardHead = (side, i) => {
    const part = side.set.rewards[i];
    const view = side.group.rewards[i];
    if (!view) return null;
    const rubric = view.rubric ?? [];
    return h("div", null,
      h("p", null, h("b", null, part.name), part["sees-labels"] ? " (sees labels) " : " ",
        h("span", { class: "soft" }, [numbers(view.measures), view.failure ?? "", part.judge ? `judge ${part.judge}` : "", part.anchor ? `anchor ${part.anchor}` : ""].filter(Boolean).join(" · "))),
      rubric.length ? folded(`rubric of ${rubric.length} criteria`, h("ol", null, rubric.map((id) => h("li", null, side.textNode(id))))) : null);
  };

  const tokensView = (side, i, context) => {
    if (!context.index["has-tokens"]) return null;
    const made = folded("tokens");
    made.addEventListener("toggle", async () => {
      if (!made.open || made.childElementCount > 1) return;
      try {
        const all = await explorer.load(explorer.files.tokens(side.slice));
        const tokens = all[side.place]?.[i];
        if (!tokens || !tokens.ids.length) {
          made.append(h("p", { class: "soft" }, "The record holds no tokens: the model does not return them."));
          return;
        }
        const rows = tokens.ids.map((id, n) => h("tr", null,
          h("td", null, n), h("td", null, id),
          h("td", { style: `--p:${Math.exp(tokens.logprobs[n] ?? 0)}`, class: "p" }, format(tokens.logprobs[n])),
          tokens.policy ? h("td", null, format(tokens.policy[n])) : null,
          tokens.policy ? h("td", null, format(Math.exp(tokens.policy[n] - tokens.logprobs[n]))) : null,
          tokens["kept-mass"] ? h("td", null, format(tokens["kept-mass"][n])) : null));
        const columns = ["position", "token", "log-probability"];
        if (tokens.policy) columns.push("in the objective", "ratio");
        if (tokens["kept-mass"]) columns.push("kept mass");
        made.append(
          h("p", { class: "soft" }, tokens.policy
            ? "The ratio is that of the objective's distribution to the unmodified one. "
            : "The objective used the unmodified distribution. ",
          "Records hold no texts of single tokens and no log-probabilities of the KL reference."),
          h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Tokens of rollout ${i}` },
            h("table", null, h("thead", null, h("tr", null, columns.map((name) => h("th", { scope: "col" }, name)))), h("tbody", null, rows))));
      } catch (error) {
        made.append(h("p", { role: "alert", class: "error" }, error.message));
      }
    });
    return made;
  };

  const rolloutView = (side, i, other, context) => {
    const rollout = side.group.rollouts[i];
    const peer = other?.group && other.group !== side.group ? other.group.rollouts[i] : null;
    const isTraining = side.set.kind === "training";
    const facts = [
      rollout.class === null ? "" : `answer class ${rollout.class}`,
      `${rollout["num-tokens"]} tokens`, rollout.finish.replaceAll("-", " "),
      `log-probability ${format(rollout.logprob)}`,
      rollout.extraction, rollout.reason,
    ];
    const text = side.text(rollout.text);
    const subject = { prompt: context.asked, response: text, record: rollout.key };
    const own = { ...context, text: side.text, textNode: side.textNode };
    // The reward of the other side's rollout, where both sides have one reward.
    const peerReward = () => {
      if (!peer || side.set.rewards.length !== 1) return undefined;
      const values = other.group.rewards.filter(Boolean);
      return values.length === 1 ? values[0].rollouts[i]?.value ?? null : undefined;
    };
    const rewards = side.group.rewards.map((reward, of) => {
      if (!reward) return null;
      const one = reward.rollouts[i];
      const value = one?.value ?? null;
      const compared = peerReward();
      return h("div", null,
        h("span", null, side.set.rewards[of].name), " ",
        fact(compared !== undefined && compared !== value, h("b", null, value === null ? "no reward" : `reward ${format(value)}`)), " ",
        h("span", { class: "soft" }, one ? one.reason : reward.failure),
        one?.judged ? verdicts(one.judged, judgeOf(context, side.set.rewards[of].stage, side.set.rewards[of].judge), subject, own) : null);
    });
    const stage = side.set.stages[isTraining ? "train-groups" : "rollouts"];
    return h("section", { class: "rollout", id: `${side.name}-rollout-${i}`, tabindex: "-1", "aria-label": `${side.name}, rollout ${i}` },
      h("h4", null, `Rollout ${i} `,
        context.hasRubric || isTraining ? null : fact(peer && peer.answer !== rollout.answer, h("code", null, rollout.answer ?? "no answer")), " ",
        fact(peer && peer.score !== rollout.score, scoreView(rollout.score, context)),
        isTraining ? h("span", null, " advantage ", h("b", null, rollout.advantage === undefined ? "none" : format(rollout.advantage))) : null),
      h("p", { class: "soft" }, facts.filter(Boolean).join(" · "), " · ", keyView(rollout.key, stage)),
      rewards,
      textView(text, context),
      rollout.judged ? verdicts(rollout.judged, judgeOf(context, side.set.stages["rollout-grades"]), subject, own) : null,
      tokensView(side, i, context));
  };

  const describe = (side) => {
    const { set } = side;
    const estimate = set.estimates[side.estimate];
    const facts = [
      set.kind === "training" ? `training run, step ${side.step}${side.note ?? ""}` : set.step === undefined ? "" : `after step ${set.step}`,
      `policy ${set.model}`, set.label === set.model ? "" : set.label, `seed ${set.seed}`, `group of ${set["group-size"]}`, `grader ${set.grader}`,
    ];
    return h("div", null,
      h("h3", null, `${side.name}: ${estimate ? estimate.name : "rollouts"}`),
      h("p", { class: "soft" }, facts.filter(Boolean).join(" · ")));
  };

  const others = (side, context) => {
    const rows = side.set.estimates.map((part, i) => {
      const view = side.group.estimates[i];
      if (!view) return null;
      return h("tr", null, h("td", null, part.name), h("td", null, view.origin), context.hasRubric ? null : h("td", null, view.answer ?? "–"), h("td", null, scoreView(view.score, context)));
    });
    if (side.set.estimates.length < 2) return null;
    return folded(`all ${side.set.estimates.length} estimates from these rollouts`, h("div", { class: "wide" },
      h("table", null, h("thead", null, h("tr", null, ["estimate", "origin", context.hasRubric ? null : "answer", "score"].map((name) => name && h("th", { scope: "col" }, name)))), h("tbody", null, rows))));
  };

  const made = (side, context) => {
    const stages = Object.entries(side.set.stages);
    const part = side.set.estimates[side.estimate];
    if (part) stages.push(["estimates", part.stage]);
    for (const reward of side.set.rewards) stages.push([reward.name, reward.stage]);
    return folded("made from", stages.map(([kind, stage]) =>
      folded(`${kind} ${stage.slice(0, 12)}`, h("pre", null, JSON.stringify(context.index.specs[stage] ?? "no specification", null, 1)))));
  };

  const rewardHeads = (side) => {
    const heads = side.group.rewards.map((_, i) => rewardHead(side, i)).filter(Boolean);
    return heads.length ? [h("h4", null, "Rewards"), heads] : [];
  };

  // Returns the whole view of a group. `b` is null, or has a message in place of a group.
  const show = (prompt, a, b, context) => {
    const sides = b ? [a, b] : [a];
    const there = sides.filter((side) => side.group);
    const isShared = b?.group && b.group === a.group;
    const rollouts = (side, other) =>
      h("div", null, side.group.rollouts.map((_, i) => rolloutView(side, i, other, context)));
    const tags = Object.entries(prompt.head.tags).map(([key, value]) => `${key} ${value}`);
    const column = (side, other) =>
      side.group
        ? h("div", { class: "side" }, describe(side), estimateView(side, other, context), isShared && side === b ? null : [rewardHeads(side), others(side, context), made(side, context)])
        : h("div", { class: "side" }, h("h3", null, side.name), h("p", { class: "error", role: "alert" }, side.message));
    return [
      h("h2", null, `Prompt ${prompt.number + 1} `, h("code", null, prompt.head.id)),
      h("p", { class: "soft" }, [...tags, ...prompt.flags].join(" · ")),
      prompt.text.question ? textView(prompt.text.question, context) : h("p", { class: "soft" }, "The store holds no text of this prompt."),
      prompt.text.asked ? folded("full prompt", h("pre", null, prompt.text.asked)) : null,
      prompt.head.label ? h("p", null, h("b", null, "label "), h("code", null, prompt.head.label)) : null,
      h("div", { class: b ? "sides two" : "sides" }, column(a, b), b ? column(b, a) : null),
      there.length ? h("h3", null, "Rollouts") : null,
      there.length === 2 && !isShared
        ? h("div", { class: "sides two" }, sides.map((side, i) => h("div", { class: "side" }, h("h4", { class: "soft" }, side.name), rollouts(side, sides[1 - i]))))
        : there.slice(0, 1).map((side) => rollouts(side, isShared ? b : null)),
    ];
  };

  return { h, show };
})();
