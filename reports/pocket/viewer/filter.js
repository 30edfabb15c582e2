"use strict";
// Filters of groups.
//
//   filter  = and ("or" and)*
//   and     = not ("and" not)*
//   not     = "not" not | "(" filter ")" | test
//   test    = NAME ("right" | "wrong" | "unscored")        an estimate
//           | NAME ("=" | "!=" | "<" | "<=" | ">" | ">=" | "~") VALUE
//           | "text"                                       the id or the question holds it
//
// A NAME is a field, a tag, an estimate or a reward. A VALUE is a number, a word or a quoted text.
const preceptorFilter = (() => {
  const NUMBERS = {
    score: "mean score of the rollouts",
    reward: "mean reward of the group, by the first of its rewards",
    length: "mean number of tokens of the rollouts",
    step: "step of training",
    seed: "seed of the run",
    prompt: "number of the prompt",
    rollouts: "number of rollouts",
  };
  const TEXTS = {
    id: "id of the prompt",
    question: "start of the question, up to 300 characters",
    label: "label of the prompt",
    flag: "a named fact, such as \"mixed group\"",
  };
  const OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "~"];

  class FilterError extends Error {
    constructor(message, at) {
      super(message);
      this.at = at;
    }
  }

  const tokens = (text) => {
    const found = [];
    const pattern = /\s*(?:("(?:[^"\\]|\\.)*")|(!=|<=|>=|=|<|>|~)|([()])|([^\s"()=<>~!]+)|(\S))/gy;
    for (let match; pattern.lastIndex < text.length && (match = pattern.exec(text)); ) {
      const [whole, quoted, operator, bracket, word, other] = match;
      const at = match.index + whole.length - whole.trimStart().length;
      if (quoted) found.push({ kind: "quoted", text: quoted.slice(1, -1).replace(/\\(.)/g, "$1"), at });
      else if (operator) found.push({ kind: "operator", text: operator, at });
      else if (bracket) found.push({ kind: bracket, text: bracket, at });
      else if (word) found.push({ kind: "word", text: word, at });
      else if (other === '"') throw new FilterError("the text that starts here has no closing quote", at);
      else throw new FilterError(`unexpected \`${other}\``, at);
    }
    return found;
  };

  const quote = (name) => (/^[^\s"()=<>~!]+$/.test(name) ? name : `"${name}"`);
  const shown = (token) => (token ? `\`${token.text}\`` : "the end");
  const compare = (a, operator, b) => {
    if (operator === "=") return a === b;
    if (operator === "!=") return a !== b;
    if (operator === "<") return a < b;
    if (operator === "<=") return a <= b;
    if (operator === ">") return a > b;
    return a >= b;
  };

  // Returns a function from groups to true or false; its `estimates` are those that it names. `names` has lists `estimates`, `rewards`, `tags` and
  // `flags`, and `hasRubric`. Throws a FilterError.
  const parse = (text, names) => {
    const list = tokens(text);
    const named = new Set();
    let at = 0;
    const end = text.length;
    const peek = () => list[at];
    const isWord = (word) => peek()?.kind === "word" && peek().text.toLowerCase() === word;
    const fail = (message, token) => {
      throw new FilterError(message, token ? token.at : end);
    };
    const find = (of, name) => of.find((known) => known.toLowerCase() === name.toLowerCase());

    const lookUp = (token) => {
      const name = token.text;
      const number = find(Object.keys(NUMBERS), name);
      if (number) return { kind: "number", name, of: (group) => group[number] };
      const field = find(Object.keys(TEXTS), name);
      if (field === "flag") return { kind: "flag", name, of: (group) => group.flags };
      if (field) return { kind: "text", name, of: (group) => group[field] };
      const estimate = find(names.estimates, name);
      if (estimate) named.add(estimate);
      if (estimate) return { kind: "estimate", name: estimate, of: (group) => group.estimates[estimate] };
      const reward = find(names.rewards, name);
      if (reward) return { kind: "number", name: reward, of: (group) => group.rewards[reward] };
      const tag = find(names.tags, name);
      if (tag) return { kind: "text", name: tag, of: (group) => group.tags[tag] };
      const known = [...Object.keys(NUMBERS), ...Object.keys(TEXTS), ...names.estimates, ...names.rewards, ...names.tags];
      return fail(`\`${name}\` is no name here. Names are ${known.map(quote).join(", ")}; to find a text, put it in quotes`, token);
    };

    const state = (subject, token) => {
      const wanted = token.text.toLowerCase();
      if (wanted === "unscored") return (group) => subject.of(group) === null;
      if (names.hasRubric) {
        fail(`nothing is right or wrong where a rubric gives points: compare a score, for example \`${quote(subject.name)} > 0.5\``, token);
      }
      const isRight = wanted === "right";
      return (group) => {
        const score = subject.of(group);
        return typeof score === "number" && (score === 1) === isRight;
      };
    };

    const comparison = (subject, operator, value) => {
      const number = value.kind === "word" ? Number(value.text) : NaN;
      const wanted = value.text.toLowerCase();
      if (subject.kind === "number" || subject.kind === "estimate") {
        if (operator.text === "~") fail(`\`${subject.name}\` is a number: compare it with =, !=, <, <=, > or >=`, operator);
        if (Number.isNaN(number)) fail(`expected a number after \`${subject.name} ${operator.text}\`, found ${shown(value)}`, value);
        return (group) => {
          const known = subject.of(group);
          return typeof known === "number" && compare(known, operator.text, number);
        };
      }
      if (subject.kind === "flag") {
        if (operator.text !== "=" && operator.text !== "~" && operator.text !== "!=") {
          fail("flags are compared with =, != or ~", operator);
        }
        if (operator.text !== "~" && !find(names.flags, value.text)) {
          const known = names.flags.length ? `flags are ${names.flags.map(quote).join(", ")}` : "no group has a flag";
          fail(`there is no flag ${shown(value)}; ${known}`, value);
        }
        const has = (group) =>
          subject.of(group).some((flag) => (operator.text === "~" ? flag.toLowerCase().includes(wanted) : flag.toLowerCase() === wanted));
        return operator.text === "!=" ? (group) => !has(group) : has;
      }
      return (group) => {
        const known = subject.of(group);
        if (known === undefined || known === null) return false;
        const lower = String(known).toLowerCase();
        if (operator.text === "~") return lower.includes(wanted);
        const both = Number(known);
        if (!Number.isNaN(number) && lower !== "" && !Number.isNaN(both)) return compare(both, operator.text, number);
        return compare(lower, operator.text, wanted);
      };
    };

    const test = () => {
      const name = peek();
      if (!name) return fail("expected a test, found the end", null);
      if (name.kind !== "word" && name.kind !== "quoted") return fail(`expected a test, found ${shown(name)}`, name);
      if (["and", "or"].includes(name.text.toLowerCase()) && name.kind === "word") {
        return fail(`expected a test, found ${shown(name)}`, name);
      }
      at++;
      const next = peek();
      const isState = next?.kind === "word" && ["right", "wrong", "unscored"].includes(next.text.toLowerCase());
      if (name.kind === "quoted" && next?.kind !== "operator" && !isState) {
        const wanted = name.text.toLowerCase();
        return (group) => group.id.toLowerCase().includes(wanted) || group.question.toLowerCase().includes(wanted);
      }
      const subject = lookUp(name);
      if (isState) {
        at++;
        if (subject.kind !== "estimate") {
          return fail(`only an estimate is right or wrong, and \`${subject.name}\` is none; estimates are ${names.estimates.map(quote).join(", ") || "missing here"}`, next);
        }
        return state(subject, next);
      }
      if (next?.kind !== "operator") {
        const states = subject.kind === "estimate" ? "`right`, `wrong`, `unscored` or " : "";
        return fail(`expected ${states}a comparison after \`${subject.name}\`, found ${shown(next)}`, next);
      }
      at++;
      const value = peek();
      if (value?.kind !== "word" && value?.kind !== "quoted") {
        return fail(`expected a value after \`${subject.name} ${next.text}\`, found ${shown(value)}`, value);
      }
      at++;
      return comparison(subject, next, value);
    };

    let depth = 0;
    const negation = () => {
      if (++depth > 200) fail("the filter is nested too deeply", peek());
      let found;
      if (isWord("not")) {
        at++;
        const inner = negation();
        found = (group) => !inner(group);
      } else if (peek()?.kind === "(") {
        const open = peek();
        at++;
        found = disjunction();
        if (peek()?.kind !== ")") fail("this parenthesis is never closed", open);
        at++;
      } else found = test();
      depth--;
      return found;
    };
    const conjunction = () => {
      const parts = [negation()];
      while (isWord("and")) {
        at++;
        parts.push(negation());
      }
      return parts.length === 1 ? parts[0] : (group) => parts.every((part) => part(group));
    };
    const disjunction = () => {
      const parts = [conjunction()];
      while (isWord("or")) {
        at++;
        parts.push(conjunction());
      }
      return parts.length === 1 ? parts[0] : (group) => parts.some((part) => part(group));
    };

    const found = list.length ? disjunction() : () => true;
    if (peek()) fail(`expected \`and\` or \`or\`, found ${shown(peek())}`, peek());
    return Object.assign((group) => found(group), { estimates: [...named] });
  };

  return { parse, FilterError, NUMBERS, TEXTS, OPERATORS, quote };
})();
