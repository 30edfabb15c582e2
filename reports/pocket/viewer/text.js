"use strict";
// Texts of models: hidden characters made visible, Markdown and maths as a tree of plain objects.
// Nothing here touches the document, and nothing makes markup from a string.
const preceptorText = (() => {
  // Longer texts are shown raw.
  const LONGEST_MARKDOWN = 100000;
  let hidden = /(?!)/gu;

  // Sets the code points that are shown as such: pairs of the first and the last of a range.
  const setHidden = (ranges) => {
    const point = (code) => `\\u{${code.toString(16)}}`;
    const classes = ranges.map(([first, last]) => `${point(first)}-${point(last)}`);
    hidden = new RegExp(`[${classes.join("")}]`, "gu");
  };
  const visible = (text) =>
    String(text).replace(hidden, (c) => {
      const code = c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      return `[U+${code}]`;
    });

  // Returns the end of a group in braces that opens at `start`; -1 if it is never closed.
  const closingBrace = (text, start) => {
    let depth = 0;
    for (let i = start; i < text.length; i++) {
      if (text[i] === "\\") i++;
      else if (text[i] === "{") depth++;
      else if (text[i] === "}" && --depth === 0) return i;
    }
    return -1;
  };

  // Returns the maths that starts at `start`: TeX, whether it is displayed, and where it ends.
  const mathsAt = (text, start) => {
    const between = (open, close, display) => {
      if (!text.startsWith(open, start)) return null;
      const end = text.indexOf(close, start + open.length);
      const tex = end < 0 ? "" : text.slice(start + open.length, end);
      return tex.trim() ? { tex, display, end: end + close.length } : null;
    };
    if (text.startsWith("\\boxed{", start)) {
      const end = closingBrace(text, start + 6);
      return end < 0 ? null : { tex: text.slice(start, end + 1), display: false, end: end + 1 };
    }
    if (text[start] === "\\") return between("\\(", "\\)", false) ?? between("\\[", "\\]", true);
    if (text.startsWith("$$", start)) return between("$$", "$$", true);
    const found = between("$", "$", false);
    // A price is no formula: no space inside the marks, no digit after them.
    const isPrice = found && (/^\s|\s$|\n\n/.test(found.tex) || /\d/.test(text[found.end] ?? ""));
    return isPrice ? null : found;
  };

  const withMaths = (md) => {
    md.inline.ruler.before("escape", "maths", (state, silent) => {
      const first = state.src[state.pos];
      if (first !== "$" && first !== "\\") return false;
      const found = mathsAt(state.src.slice(0, state.posMax), state.pos);
      if (!found) return false;
      if (!silent) {
        const token = state.push("maths", "", 0);
        token.content = found.tex;
        token.meta = { display: found.display };
      }
      state.pos = found.end;
      return true;
    });
    const block = (state, startLine, endLine, silent) => {
      const start = state.bMarks[startLine] + state.tShift[startLine];
      if (!state.src.startsWith("$$", start) && !state.src.startsWith("\\[", start)) return false;
      const found = mathsAt(state.src, start);
      if (!found) return false;
      let line = startLine;
      while (line < endLine && state.eMarks[line] < found.end) line++;
      // Text after it on its last line belongs to a paragraph.
      if (line >= endLine || state.src.slice(found.end, state.eMarks[line]).trim()) return false;
      if (silent) return true;
      const token = state.push("maths", "", 0);
      token.content = found.tex;
      token.meta = { display: true };
      state.line = line + 1;
      return true;
    };
    const alt = ["paragraph", "reference", "blockquote", "list"];
    md.block.ruler.before("fence", "maths_block", block, { alt });
    return md;
  };

  const TAGS = new Set([
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "strong", "em", "s", "hr", "br",
    "table", "thead", "tbody", "tr", "th", "td", "pre", "code",
  ]);
  // Headings of a text rank below those of the page.
  const tagOf = (tag) => (/^h[1-6]$/.test(tag) ? "h6" : TAGS.has(tag) ? tag : "span");
  let parser;

  // Adds the nodes of markdown-it's tokens to `root`.
  const grow = (tokens, root) => {
    const open = [root];
    for (const token of tokens) {
      const top = open[open.length - 1].children;
      if (token.type === "link_open") {
        const target = [token.attrGet("href"), token.attrGet("title")].filter(Boolean).join(" ");
        open.push({ tag: "span", children: [], target });
        top.push(open[open.length - 1]);
      } else if (token.type === "link_close") {
        const link = open.pop();
        // A link is shown with its target and leads nowhere.
        link.children.push({ text: ` (${link.target})` });
        delete link.target;
      } else if (token.nesting === 1) {
        // Items of a tight list have no paragraphs.
        const node = { tag: token.hidden ? "span" : tagOf(token.tag), children: [] };
        if (node.tag === "ol" && token.attrGet("start")) node.start = Number(token.attrGet("start"));
        top.push(node);
        open.push(node);
      } else if (token.nesting === -1) open.pop();
      else if (token.type === "inline") grow(token.children, open[open.length - 1]);
      else if (token.type === "maths") top.push({ maths: token.content, display: token.meta.display });
      else if (token.type === "softbreak" || token.type === "hardbreak") top.push({ tag: "br", children: [] });
      else if (token.type === "hr") top.push({ tag: "hr", children: [] });
      else if (token.type === "code_inline") top.push({ tag: "code", children: [{ text: token.content }] });
      else if (token.type === "fence" || token.type === "code_block") {
        if (token.info) top.push({ tag: "code", children: [{ text: token.info }] });
        top.push({ tag: "pre", children: [{ text: token.content }] });
      } else if (token.content) top.push({ text: token.content });
    }
  };

  const numLetters = (text) => text.match(/\p{L}/gu)?.length ?? 0;
  const lettersOf = (node) =>
    numLetters(node.text ?? node.maths ?? "") + (node.children ?? []).reduce((sum, child) => sum + lettersOf(child), 0);

  // Returns the tree of a Markdown text: `{tag, children}`, `{text}` or `{maths, display}`. Returns null if
  // the tree would hide a part of the text, as deep nesting and definitions of links do.
  const markdown = (text) => {
    parser ??= withMaths(
      globalThis.markdownit({ html: false, linkify: false, typographer: false, breaks: true })
        .disable(["image", "autolink", "entity", "html_block", "html_inline"]),
    );
    const source = visible(text);
    const root = { tag: "div", children: [] };
    grow(parser.parse(source, {}), root);
    return lettersOf(root) < numLetters(source) ? null : root;
  };

  // Formats a number as tables do: integers bare, small numbers in scientific notation, halves away from 0.
  const format = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(Number(value.toPrecision(12)));
    const fixed = (places) =>
      Number(Math.round(Number(`${size}e${places}`)) + `e-${places}`).toFixed(places);
    let text;
    if (Number.isInteger(value)) text = String(size);
    else if (size < 0.001) text = size.toExponential(1).replace(".0e", "e").replace("e+", "e");
    else text = fixed(size < 100 ? 3 : size < 1000 ? 1 : 0);
    return value < 0 ? `-${text}` : text;
  };

  return { setHidden, visible, markdown, format, LONGEST_MARKDOWN };
})();
