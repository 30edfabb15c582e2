"use strict";
// Loads the files beside the page. They are scripts that call `explorer.index`, `.slice` and so on, since
// browsers refuse to fetch from `file://`.

// Fills in what slices leave out.
const preceptorWhole = (slice) => {
  const judged = (list) => list.map((one) => {
    const met = one.answer === "met" ? true : one.answer === "not met" ? false : null;
    return { points: 1, attempts: 1, margin: null, ...one, met, failed: one.answer.startsWith("failed: ") };
  });
  const scored = (one) => {
    const whole = { answer: null, score: null, reason: "", ...one };
    if (one.judged) whole.judged = judged(one.judged);
    return whole;
  };
  const groups = slice.groups.map((group) => ({
    ...group,
    rollouts: group.rollouts.map((one) => ({ key: group.key, extraction: "", class: null, ...scored(one) })),
    estimates: group.estimates.map((one) => one && { rollout: null, text: null, measures: {}, ...scored(one) }),
    rewards: group.rewards.map((one) => one && {
      measures: {}, failure: null, ...one,
      rollouts: one.rollouts.map((of) => ({ reason: "", ...of, judged: of.judged && judged(of.judged) })),
    }),
  }));
  return { texts: slice.texts, groups };
};

const explorer = (() => {
  const KEPT = 24;
  const arrived = new Map();
  const promises = new Map();
  const take = (kind) => (...values) => arrived.set(kind, values);

  const load = (file) => {
    const known = promises.get(file);
    if (known) {
      // The files that were used last are kept.
      promises.delete(file);
      promises.set(file, known);
      return known;
    }
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = file;
      script.addEventListener("load", () => {
        script.remove();
        const values = arrived.get(file);
        arrived.delete(file);
        if (values) resolve(values[0]);
        else reject(new Error(`\`${file}\` is damaged: write the report again`));
      });
      script.addEventListener("error", () => {
        script.remove();
        promises.delete(file);
        reject(new Error(`\`${file}\` is not beside this page: copy the whole folder, or write the report again`));
      });
      document.head.append(script);
    });
    promises.set(file, promise);
    if (promises.size > KEPT) promises.delete(promises.keys().next().value);
    return promise;
  };

  const four = (number) => String(number).padStart(4, "0");
  const numbered = (name) => (number, value) => arrived.set(name(number), [value]);
  const files = {
    slice: (number) => `${four(number)}.js`,
    tokens: (number) => `${four(number)}-tokens.js`,
    long: (number) => `long-${four(number)}.js`,
    prompts: (number) => `prompts-${four(number)}.js`,
  };
  return {
    index: take("index.js"),
    slice: (number, value) => arrived.set(files.slice(number), [preceptorWhole(value)]),
    tokens: numbered(files.tokens),
    long: numbered(files.long),
    prompts: numbered(files.prompts),
    load,
    files,
  };
})();
