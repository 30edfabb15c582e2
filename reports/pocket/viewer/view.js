"use strict";
// The list of groups, the filter, links, keys and labels.
(async () => {
  const { h, show } = preceptorGroup;
  const { format, setHidden } = preceptorText;
  const PER_PAGE = 100;
  const byId = (id) => document.getElementById(id);
  const fail = (message) => {
    byId("message").textContent = message;
  };

  let index;
  try {
    index = await explorer.load("index.js");
  } catch (error) {
    byId("group").replaceChildren();
    return fail(error.message);
  }
  setHidden(index.hidden);
  const hasRubric = index["has-rubric"];
  const names = {
    estimates: [...new Set(index.sets.flatMap((set) => set.estimates.map((part) => part.name)))],
    rewards: [...new Set(index.sets.flatMap((set) => set.rewards.map((part) => part.name)))],
    tags: [...new Set(index.prompts.flatMap((prompt) => Object.keys(prompt.tags)))].sort(),
    flags: index["flag-names"],
    hasRubric,
  };

  // A condition is a set with one of its estimates.
  const conditions = index.sets.flatMap((set) =>
    (set.estimates.length ? set.estimates : [null]).map((part, estimate) => ({ set, estimate, name: `${set.key}/${part ? part.name : "rollouts"}`, part })));
  const setLabel = (set) => {
    const kind = set.kind === "training" ? "steps of the policy " : "";
    return `${kind}${set.label}, seed ${set.seed}`;
  };
  const fill = (select, none) => {
    if (none) select.append(h("option", { value: "" }, none));
    for (const set of index.sets) {
      const options = conditions.filter((of) => of.set === set);
      select.append(h("optgroup", { label: setLabel(set) }, options.map((of) => h("option", { value: of.name }, `${of.part ? of.part.name : "rollouts"} · ${setLabel(set)}`))));
    }
  };
  fill(byId("a"), null);
  fill(byId("b"), "none");

  // Rows of groups, as filters and sorting see them.
  const row = (set, at) => {
    const prompt = index.prompts[set.prompts[at]];
    const estimates = Object.create(null);
    set.estimates.forEach((part, i) => (estimates[part.name] = set["estimate-scores"][i][at]));
    const rewards = Object.create(null);
    set.rewards.forEach((part, i) => (rewards[part.name] = set["reward-means"][i][at]));
    return {
      set, at, estimates, rewards,
      prompt: set.prompts[at] + 1,
      step: set.steps.length ? set.steps[at] : set.step,
      seed: set.seed,
      score: set.scores[at],
      reward: set["reward-means"][0]?.[at],
      length: set.lengths[at],
      rollouts: set["group-size"],
      id: prompt.id, question: prompt.question, label: prompt.label, tags: prompt.tags,
      flags: set.flags[at].map((flag) => names.flags[flag]),
    };
  };

  const state = { a: null, b: null, filter: "", sort: "", page: 0, chosen: null, rollout: null, raw: false, rows: [], named: [] };
  const rowsOf = new Map();
  const allRows = (set) => {
    if (!rowsOf.has(set)) rowsOf.set(set, set.prompts.map((_, at) => row(set, at)));
    return rowsOf.get(set);
  };

  // Labels, kept in this browser.
  const storageKey = `preceptor labels ${index.experiment} ${index.benchmark}`;
  const labels = {
    all: new Map(),
    get: (label) => labels.all.get(preceptorLabels.key(label)),
    set: (label) => { labels.all.set(preceptorLabels.key(label), label); labels.store(); },
    delete: (label) => { labels.all.delete(preceptorLabels.key(label)); labels.store(); },
    store: () => {
      const count = labels.all.size;
      byId("label-count").textContent = count === 1 ? "1 label." : `${count} labels.`;
      byId("label-error").textContent = "";
      try {
        if (count) localStorage.setItem(storageKey, preceptorLabels.toFile(labels.all));
        else localStorage.removeItem(storageKey);
      } catch (error) {
        byId("label-error").textContent = `This browser did not keep the labels (${error.message}): save them as a file.`;
      }
    },
    start: () => {
      try {
        const kept = localStorage.getItem(storageKey);
        if (kept) labels.all = preceptorLabels.fromFile(kept, "labels of this browser");
      } catch (error) {
        byId("label-error").textContent = error.message;
      }
      const count = labels.all.size;
      byId("label-count").textContent = count === 1 ? "1 label." : `${count} labels.`;
    },
  };

  const columns = () => {
    const { set, part, estimate } = state.a;
    const score = (of) => hasRubric ? format(of) : of === 1 ? "✓" : of === 0 ? "✗" : format(of);
    const list = [{ name: "prompt", of: (r) => r.prompt, number: true }];
    if (set.steps.length) list.push({ name: "step", of: (r) => r.step, number: true });
    if (part) list.push({ name: `A: ${part.name}`, of: (r) => r.estimates[part.name], show: score, number: true });
    const b = state.b;
    if (b?.part && b.set === set && b.estimate !== estimate) list.push({ name: `B: ${b.part.name}`, of: (r) => r.estimates[b.part.name], show: score, number: true });
    const shownEstimates = [part?.name, b?.set === set ? b.part?.name : null];
    for (const name of state.named) {
      if (!shownEstimates.includes(name)) list.push({ name, of: (r) => r.estimates[name], show: score, number: true });
    }
    list.push({ name: "score", of: (r) => r.score, show: format, number: true });
    if (set.rewards.length) list.push({ name: "reward", of: (r) => r.reward, show: format, number: true });
    list.push({ name: "tokens", of: (r) => r.length, show: format, number: true });
    list.push({ name: "question", of: (r) => r.question || r.id });
    list.push({ name: "tags", of: (r) => Object.entries(r.tags).map(([key, value]) => `${key} ${value}`).join(", ") });
    list.push({ name: "flags", of: (r) => r.flags.join(", ") });
    const isThere = (value) => value !== null && value !== undefined && value !== "";
    return list.filter((column) => allRows(set).some((r) => isThere(column.of(r))));
  };

  const compare = (a, b) => {
    // What is missing comes last, in both directions.
    const missing = (value) => value === null || value === undefined || value === "";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    return a < b ? -1 : a > b ? 1 : 0;
  };

  const select = () => {
    const input = byId("filter");
    const error = byId("filter-error");
    let test;
    try {
      test = preceptorFilter.parse(state.filter, names);
      state.named = test.estimates;
      error.textContent = "";
      input.removeAttribute("aria-invalid");
    } catch (problem) {
      if (!(problem instanceof preceptorFilter.FilterError)) throw problem;
      const before = state.filter.slice(0, problem.at);
      error.textContent = `${preceptorText.visible(state.filter)}\n${" ".repeat([...preceptorText.visible(before)].length)}^ ${preceptorText.visible(problem.message)}`;
      input.setAttribute("aria-invalid", "true");
      return;
    }
    const rows = allRows(state.a.set).filter(test);
    const [name, direction] = state.sort.split(":");
    const column = columns().find((of) => of.name === name);
    if (column) {
      const sign = direction === "down" ? -1 : 1;
      const isThere = (r) => compare(column.of(r), null) === -1;
      rows.sort((x, y) => isThere(x) && isThere(y) ? sign * compare(column.of(x), column.of(y)) : compare(column.of(x), column.of(y)));
    }
    state.rows = rows;
  };

  const list = () => {
    const all = columns();
    const last = Math.max(0, Math.ceil(state.rows.length / PER_PAGE) - 1);
    state.page = Math.min(Math.max(0, state.page), last);
    const first = state.page * PER_PAGE;
    const total = allRows(state.a.set).length;
    const range = last ? `, ${first + 1} to ${Math.min(first + PER_PAGE, state.rows.length)} shown` : "";
    byId("count").textContent = `${state.rows.length} of ${total} groups${range}`;
    byId("pages").hidden = !last;
    byId("page-back").disabled = state.page === 0;
    byId("page-forth").disabled = state.page === last;
    const [name, direction] = state.sort.split(":");
    byId("columns").replaceChildren(...all.map((column) => {
      const is = column.name === name;
      const order = is ? (direction === "down" ? "descending" : "ascending") : "none";
      const button = h("button", { type: "button", click: () => {
        state.sort = `${column.name}:${is && direction !== "down" ? "down" : "up"}`;
        state.page = 0;
        select();
        list();
        link();
      } }, column.name, is ? (direction === "down" ? " ↓" : " ↑") : "");
      return h("th", { scope: "col", "aria-sort": order }, button);
    }));
    const kept = new Set(state.a.set.kept);
    byId("rows").replaceChildren(...state.rows.slice(first, first + PER_PAGE).map((r) => {
      const isChosen = state.chosen && r.at === state.chosen.at && r.set === state.chosen.set;
      const cells = all.map((column) => {
        const value = column.of(r);
        const text = column.show ? column.show(value) : value ?? "–";
        if (column.name === "question") return h("td", { class: "question" }, h("a", { href: hash(r) }, text.slice(0, 90) || "(no text)"));
        return h("td", column.number ? { class: "number" } : null, text);
      });
      const isLeftOut = r.set.kept && !kept.has(r.at);
      return h("tr", { class: isLeftOut ? "left-out" : null, title: isLeftOut ? "texts left out" : null, "aria-current": isChosen ? "true" : null, click: (event) => { if (!event.target.closest("a")) choose(r); } }, cells);
    }));
    const chosen = byId("rows").querySelector("[aria-current]");
    const box = byId("rows").closest(".wide");
    if (chosen) {
      const above = chosen.offsetTop - box.querySelector("thead").offsetHeight;
      if (above < box.scrollTop || chosen.offsetTop + chosen.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = above;
    }
  };

  const hash = (r, rollout) => {
    const parts = new URLSearchParams();
    if (r) {
      parts.set("prompt", r.prompt);
      if (r.set.steps.length) parts.set("step", r.step);
    }
    if (rollout !== null && rollout !== undefined) parts.set("rollout", rollout);
    parts.set("a", state.a.name);
    if (state.b) parts.set("b", state.b.name);
    if (state.filter) parts.set("filter", state.filter);
    if (state.sort) parts.set("sort", state.sort);
    return `#${parts}`;
  };
  const link = () => history.replaceState(null, "", hash(state.chosen, state.rollout));

  // Finds the group of a set: that of the prompt, at the step if there is one.
  const groupAt = (set, prompt, step) => {
    const found = [];
    set.prompts.forEach((of, at) => { if (of === prompt) found.push(at); });
    if (!set.steps.length || step === undefined || step === null) return found[0];
    return found.find((at) => set.steps[at] === step);
  };

  const loadSide = async (name, condition, r) => {
    const { set, estimate, part } = condition;
    const prompt = r.prompt - 1;
    let at = set === r.set ? r.at : groupAt(set, prompt, set.steps.length ? r.step : null);
    let note;
    if (at === undefined && set.steps.length) {
      const far = (i) => Math.abs(set.steps[i] - (r.step ?? 0));
      set.prompts.forEach((of, i) => { if (of === prompt && (at === undefined || far(i) < far(at))) at = i; });
      note = r.step === undefined ? "" : `, the nearest with this prompt to step ${r.step}`;
    }
    if (at === undefined) return { name, message: `${setLabel(set)}: no group of prompt ${r.prompt}` };
    const kept = set.kept ? set.kept.indexOf(at) : at;
    if (kept < 0) {
      return { name, set, estimate: part ? estimate : undefined, message: "The texts of this group were left out to keep this folder small. The numbers in the list are whole; `preceptor report` writes every text." };
    }
    const [first, slice] = set.slices.filter(([of]) => of <= kept).pop();
    const inSlice = kept - first + (first === set.slices[0][0] ? set.offset : 0);
    const loaded = await explorer.load(explorer.files.slice(slice));
    const group = loaded.groups[inSlice];
    const text = (id) => loaded.texts[id];
    const textNode = (id) => {
      const held = text(id);
      return typeof held === "string" ? held : held.head + " …";
    };
    return { name, set, estimate: part ? estimate : undefined, group, text, textNode, slice, place: inSlice, step: set.steps[at], note };
  };

  let latest = 0;
  const open = async () => {
    const mine = ++latest;
    const r = state.chosen;
    const root = byId("group");
    if (!r) return root.replaceChildren();
    try {
      const number = r.prompt - 1;
      const perFile = index["prompts-per-file"];
      const [texts, a, b] = await Promise.all([
        explorer.load(explorer.files.prompts(Math.floor(number / perFile))),
        loadSide("A", state.a, r),
        state.b ? loadSide("B", state.b, r) : null,
      ]);
      if (mine !== latest) return;
      if (a.group && b?.set === a.set) b.group = a.group;
      const prompt = { number, head: index.prompts[number], text: texts[number % perFile], flags: r.flags };
      const asked = prompt.text.asked || undefined;
      const whole = (text) => text;
      const context = { index, hasRubric, raw: state.raw, labels, asked, text: a.text ?? whole, textNode: a.textNode ?? whole };
      const position = state.rows.findIndex((other) => other.at === r.at);
      const nav = h("nav", { "aria-label": "Groups" },
        h("button", { type: "button", click: () => move(-1) }, "Previous"), " ",
        h("button", { type: "button", click: () => move(1) }, "Next"), " ",
        h("button", { type: "button", "aria-pressed": String(state.raw), click: () => { state.raw = !state.raw; open(); } }, "Raw texts"), " ",
        h("span", { class: "soft" }, position < 0 ? "not among the filtered groups" : `${position + 1} of ${state.rows.length}`), " ",
        stepsView(r));
      root.replaceChildren(nav, ...show(prompt, a, b, context).flat(Infinity).filter(Boolean));
      if (state.rollout !== null && a.group) chooseRollout(state.rollout, a.group.rollouts.length);
    } catch (error) {
      if (mine === latest) root.replaceChildren(h("p", { class: "error", role: "alert" }, error.message));
    }
  };

  // Steps of the training run with the same prompt.
  const siblings = (r) => r.set.steps.length ? allRows(r.set).filter((other) => other.prompt === r.prompt) : [];
  const stepsView = (r) => {
    const all = siblings(r);
    if (all.length < 2) return null;
    const picker = h("select", { "aria-label": "Step of training with this prompt", change: () => choose(all[picker.selectedIndex]) },
      all.map((other) => h("option", { selected: other.at === r.at }, `step ${other.step}`)));
    return picker;
  };

  const chooseRollout = (number, count) => {
    if (!Number.isInteger(number) || number < 0 || number >= count) {
      return fail(`There is no rollout ${number}: this group has rollouts 0 to ${count - 1}.`);
    }
    for (const name of ["A", "B"]) byId(`${name}-rollout-${number}`)?.classList.add("chosen");
    const first = byId(`A-rollout-${number}`);
    first.scrollIntoView({ block: "start" });
    first.focus({ preventScroll: true });
  };

  const choose = (r, isQuiet) => {
    state.chosen = r;
    state.rollout = null;
    byId("message").textContent = "";
    const position = state.rows.findIndex((other) => other.at === r.at);
    if (position >= 0) state.page = Math.floor(position / PER_PAGE);
    link();
    list();
    if (!isQuiet && window.innerWidth < 1280) byId("group").scrollIntoView();
    return open();
  };
  const move = (by) => {
    if (!state.rows.length) return;
    const at = state.rows.findIndex((other) => state.chosen && other.at === state.chosen.at);
    choose(state.rows[Math.min(Math.max(0, at < 0 ? 0 : at + by), state.rows.length - 1)]);
  };
  const moveStep = (by) => {
    const all = state.chosen ? siblings(state.chosen) : [];
    const next = all[all.findIndex((other) => other.at === state.chosen.at) + by];
    if (next) choose(next);
  };
  const moveRollout = (by) => {
    const count = document.querySelectorAll("[id^='A-rollout-']").length;
    if (!count) return;
    const next = state.rollout === null ? (by > 0 ? 0 : count - 1) : state.rollout + by;
    if (next < 0 || next >= count) return;
    document.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
    state.rollout = next;
    link();
    chooseRollout(next, count);
  };

  // Reads the link. Says what is missing rather than showing something else.
  const follow = () => {
    byId("message").textContent = "";
    const parts = new URLSearchParams(location.hash.slice(1));
    const find = (name) => conditions.find((of) => of.name === parts.get(name));
    const problems = [];
    for (const name of ["a", "b"]) {
      if (parts.get(name) && !find(name)) problems.push(`This link names condition ${name.toUpperCase()} \`${parts.get(name)}\`, which is not in this report.`);
    }
    state.a = find("a") ?? state.a ?? conditions[0];
    state.b = parts.has("prompt") || parts.has("b") ? find("b") ?? null : state.b;
    state.filter = parts.get("filter") ?? "";
    state.sort = parts.get("sort") ?? "";
    let chosen = null;
    if (parts.has("prompt")) {
      const wanted = parts.get("prompt");
      const byText = index.prompts.findIndex((prompt) => prompt.id === wanted);
      const number = byText >= 0 ? byText : /^\d+$/.test(wanted) ? Number(wanted) - 1 : -1;
      const step = parts.has("step") ? Number(parts.get("step")) : null;
      if (!index.prompts[number]) {
        problems.push(`There is no prompt ${wanted} in ${index.benchmark}: it has prompts 1 to ${index.prompts.length}.`);
      } else {
        // A step without a condition: the first training run that has the group.
        if (step !== null && (!find("a") || !state.a.set.steps.length)) {
          const training = conditions.filter((of) => of.set.steps.length);
          state.a = training.find((of) => groupAt(of.set, number, step) !== undefined) ?? training[0] ?? state.a;
        }
        const { set } = state.a;
        const at = groupAt(set, number, step);
        if (at === undefined) {
          const steps = set.steps.filter((_, i) => set.prompts[i] === number);
          const known = steps.length ? `; it has prompt ${number + 1} at step ${steps.join(", ")}` : "";
          problems.push(`${setLabel(set)} has no group of prompt ${number + 1}${step === null ? "" : ` at step ${step}`}${known}.`);
        } else chosen = allRows(set)[at];
      }
      const rollout = parts.get("rollout");
      state.rollout = rollout === null ? null : Number(rollout);
    }
    byId("a").value = state.a.name;
    byId("b").value = state.b?.name ?? "";
    byId("filter").value = state.filter;
    select();
    state.chosen = chosen;
    if (!chosen && !problems.length) state.chosen = state.rows[0] ?? null;
    const position = state.rows.findIndex((other) => other.at === state.chosen?.at);
    state.page = position < 0 ? 0 : Math.floor(position / PER_PAGE);
    list();
    if (problems.length) fail(problems.join(" "));
    const isLinked = chosen !== null;
    open().then(() => { if (isLinked && state.rollout === null && window.innerWidth < 1280) byId("group").scrollIntoView(); });
  };

  const changed = () => {
    const before = state.chosen;
    state.a = conditions[byId("a").selectedIndex];
    state.b = conditions[byId("b").selectedIndex - 1] ?? null;
    select();
    const number = before ? before.prompt - 1 : 0;
    const { set } = state.a;
    const at = before?.set === set ? before.at : groupAt(set, number, set.steps.length ? before?.step : null) ?? groupAt(set, number, null);
    state.chosen = at === undefined ? state.rows[0] ?? null : allRows(set)[at];
    state.rollout = null;
    link();
    list();
    open();
  };

  // Controls.
  byId("a").addEventListener("change", changed);
  byId("b").addEventListener("change", changed);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  let typing;
  byId("filter").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      state.filter = byId("filter").value;
      state.page = 0;
      select();
      list();
      link();
    }, 150);
  });
  byId("page-back").addEventListener("click", () => { state.page--; list(); });
  byId("page-forth").addEventListener("click", () => { state.page++; list(); });
  const help = byId("help");
  byId("help-button").addEventListener("click", () => help.showModal());
  byId("help-close").addEventListener("click", () => help.close());
  const quote = preceptorFilter.quote;
  const example = (text, says) => h("li", null, h("code", null, text), says ? ` ${says}` : "");
  const { estimates, rewards, tags, flags } = names;
  byId("filter-help").replaceChildren(
    ...Object.entries({ ...preceptorFilter.NUMBERS, ...preceptorFilter.TEXTS }).map(([name, says]) => example(name, says)),
    ...(estimates.length ? [example(hasRubric ? `${quote(estimates[0])} > 0.5` : `${quote(estimates[0])} right`, `an estimate: ${estimates.map(quote).join(", ")}${hasRubric ? "" : "; also wrong, unscored, or a comparison"}`)] : []),
    ...(rewards.length ? [example(`${quote(rewards[0])} < 0.5`, `mean of a reward: ${rewards.map(quote).join(", ")}`)] : []),
    ...(tags.length ? [example(`${quote(tags[0])} = ..`, `a tag: ${tags.map(quote).join(", ")}`)] : []),
    ...(flags.length ? [example(`flag = ${quote(flags[0])}`, `a flag: ${flags.map(quote).join(", ")}`)] : []),
    example('question ~ "square"', "contains a text; so does a quoted text alone"),
  );
  byId("examples").replaceChildren(...[
    ...(!hasRubric && estimates.length > 1 ? [`${quote(estimates[0])} right and ${quote(estimates[1])} wrong`] : []),
    ...flags.map((flag) => `flag = ${quote(flag)}`), "score < 0.5", "length > 500",
  ].map((value) => h("option", { value })));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const field = event.target.closest?.("input, select, textarea");
    if (event.key === "Escape" && field) return field.blur();
    if (field || event.target.closest?.(".wide") && event.key.startsWith("Arrow")) return;
    const keys = {
      j: () => move(1), ArrowRight: () => move(1),
      k: () => move(-1), ArrowLeft: () => move(-1),
      ".": () => moveStep(1), ",": () => moveStep(-1),
      "]": () => moveRollout(1), "[": () => moveRollout(-1),
      r: () => { state.raw = !state.raw; open(); },
      "/": () => byId("filter").focus(),
      "?": () => help.showModal(),
    };
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  // Labels as files.
  byId("save-labels").addEventListener("click", async () => {
    if (!labels.all.size) {
      byId("label-error").textContent = "There is no label yet: open the verdicts of a rollout, and agree or disagree.";
      return;
    }
    const blob = new Blob([preceptorLabels.toFile(labels.all)], { type: "application/jsonl" });
    const target = h("a", { href: URL.createObjectURL(blob), download: `labels-${index.experiment}-${index.benchmark}.jsonl` });
    target.click();
    URL.revokeObjectURL(target.href);
  });
  byId("load-labels").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      for (const [key, label] of preceptorLabels.fromFile(await file.text(), file.name)) labels.all.set(key, label);
      labels.store();
      open();
    } catch (error) {
      byId("label-error").textContent = preceptorText.visible(error.message);
    }
    event.target.value = "";
  });
  byId("clear-labels").addEventListener("click", () => {
    if (labels.all.size && confirm(`Delete ${labels.all.size} labels from this browser?`)) {
      labels.all.clear();
      labels.store();
      open();
    }
  });

  labels.start();
  window.addEventListener("hashchange", follow);
  follow();
})();
