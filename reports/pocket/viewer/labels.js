"use strict";
// Labels that a person gives to a judge's verdicts, as lines that `preceptor judge calibrate` reads.
const preceptorLabels = (() => {
  const FORM = '{"prompt": "..", "response": "..", "criterion": "..", "label": true}';
  const key = ({ prompt, response, criterion }) => JSON.stringify([prompt, response, criterion]);

  // Returns the lines of a file, by key.
  const toFile = (labels) => {
    const fields = ["prompt", "response", "criterion", "label", "verdict", "note", "record"];
    const line = (label) => {
      const there = fields.filter((field) => label[field] !== undefined && label[field] !== "");
      return JSON.stringify(Object.fromEntries(there.map((field) => [field, label[field]])));
    };
    const sorted = [...labels.values()].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
    return sorted.map((label) => line(label) + "\n").join("");
  };

  const problemOf = (label) => {
    if (label === null || typeof label !== "object" || Array.isArray(label)) return "expected an object";
    for (const field of ["response", "criterion"]) {
      if (typeof label[field] !== "string") return `expected a text as \`${field}\``;
    }
    if (label.prompt !== undefined && typeof label.prompt !== "string") return "expected a text as `prompt`";
    if (typeof label.label !== "boolean") return "expected true or false as `label`";
    if (label.note !== undefined && typeof label.note !== "string") return "expected a text as `note`";
    return null;
  };

  // Returns the labels of a file. Throws an error that names the file and the line.
  const fromFile = (text, name) => {
    const labels = new Map();
    text.replace(/^\ufeff/, "").split("\n").forEach((line, index) => {
      if (!line.trim()) return;
      let label;
      let problem;
      try {
        label = JSON.parse(line);
        problem = problemOf(label);
      } catch (error) {
        problem = error.message;
      }
      if (problem) throw new Error(`${name}, line ${index + 1}: ${problem}; a line is ${FORM}`);
      labels.set(key(label), label);
    });
    if (!labels.size) throw new Error(`${name}, line 1: there is no label in it; a line is ${FORM}`);
    return labels;
  };

  return { key, toFile, fromFile };
})();
