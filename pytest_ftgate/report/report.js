// Shows the rows. Whatever a model or a data set wrote goes through textContent and nothing else.
"use strict";
(() => {
  const holder = document.getElementById("rows");
  const command = document.getElementById("command");
  const PAGE = 50;
  const TAGS = ["lost", "gained", "wrong", "format", "cut off", "no answer"];
  const ALL = -1;

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  if (command && navigator.clipboard) {
    const copy = make("button", "copy", "copy");
    copy.type = "button";
    copy.addEventListener("click", () =>
      navigator.clipboard.writeText(command.textContent).then(
        () => { copy.textContent = "copied"; },
        () => { copy.textContent = "copying was refused"; },
      ));
    command.parentNode.before(copy);
  }
  if (!holder) return;

  const data = JSON.parse(document.getElementById("data").textContent);
  const text = (place) => data.strings[place];
  const rows = data.rows.map(([evalset, id, turns, reference, violation, tags, answers]) => ({
    evalset: text(evalset),
    id: text(id),
    turns: turns.map(([role, said]) => ({ role: text(role), said: text(said) })),
    reference: text(reference),
    violation: text(violation),
    tags: new Set(tags),
    answers: answers.map(([system, said, finish, score, explanation, read]) => ({
      system: text(system), said: text(said), finish: text(finish), score,
      explanation: text(explanation), read: read === null ? null : text(read),
    })),
  }));
  for (const row of rows) {
    const parts = [row.id, row.reference, ...row.turns.map((t) => t.said), ...row.answers.map((a) => a.said)];
    row.haystack = parts.join("\n").toLowerCase();
  }

  const state = { tag: ALL, evalset: "", words: "", limit: PAGE };
  const list = make("div", "list");
  const said = make("p", "quiet");
  said.setAttribute("role", "status");
  const more = make("button", "more");
  more.type = "button";
  more.addEventListener("click", () => { state.limit += PAGE; show(); });

  const words = (answer) => {
    if (answer.finish === "error" || answer.finish === "missing") return "no answer";
    if (answer.finish === "spared") return "not asked: not needed";
    const score = answer.score === null ? "not scored" : answer.score.toFixed(2);
    return answer.finish === "length" ? `${score}, cut off` : score;
  };
  const grade = (answer) =>
    answer.score === null ? "none" : answer.score === 1 ? "right" : answer.score === 0 ? "wrong" : "partly";

  const box = (title, score, content, notes, className) => {
    const node = make("div", `box ${className}`);
    const heading = make("h4", "", title);
    heading.append(make("small", "", ` ${score}`));
    node.append(heading, make("pre", content ? "" : "quiet", content || "(empty)"));
    for (const note of notes) if (note) node.append(make("p", "quiet", note));
    return node;
  };

  const fill = (row, body) => {
    const prompt = make("div", "prompt");
    prompt.append(make("h4", "", "prompt of the candidate"));
    for (const turn of row.turns) {
      const part = make("div", "turn");
      part.append(make("span", "role", turn.role), make("pre", "", turn.said));
      prompt.append(part);
    }
    const boxes = make("div", "boxes");
    boxes.append(box("reference", "", row.reference, [], ""));
    row.answers.forEach((answer, place) => {
      const read = answer.read === null ? "" : `read as: ${answer.read}`;
      const broken = place === 0 && row.violation ? `format: ${row.violation}` : "";
      boxes.append(box(answer.system, words(answer), answer.said, [answer.explanation, read, broken], grade(answer)));
    });
    body.append(prompt, boxes);
  };

  const address = (row) => `#example=${encodeURIComponent(row.evalset)}/${encodeURIComponent(row.id)}`;

  const entry = (row) => {
    const node = make("details", "example");
    const heading = make("summary");
    const last = row.turns.length ? row.turns[row.turns.length - 1].said : "";
    const scores = make("span", "scores");
    for (const answer of row.answers) {
      scores.append(make("span", `score ${grade(answer)}`, `${answer.system} ${words(answer)}`));
    }
    heading.append(make("b", "", row.id), make("span", "quiet set", row.evalset));
    for (const tag of row.tags) heading.append(make("span", `tag tag${tag}`, TAGS[tag]));
    heading.append(scores, make("span", "snippet", last.slice(0, 240)));
    node.append(heading);
    node.addEventListener("toggle", () => {
      if (!node.open || node.childElementCount > 1) return;
      const body = make("div", "body");
      fill(row, body);
      node.append(body);
    });
    // The address of the last row that was opened by hand can be passed on.
    heading.addEventListener("click", () => { if (!node.open) history.replaceState(null, "", address(row)); });
    row.node = node;
    return node;
  };

  const matching = () => rows.filter((row) =>
    (state.tag === ALL || row.tags.has(state.tag)) &&
    (!state.evalset || row.evalset === state.evalset) &&
    (!state.words || row.haystack.includes(state.words)));

  const show = () => {
    const found = matching();
    const shown = found.slice(0, state.limit);
    list.replaceChildren(...shown.map((row) => row.node || entry(row)));
    said.textContent = found.length ? `${found.length} found, ${shown.length} listed` : "nothing found";
    more.hidden = shown.length === found.length;
    more.textContent = `show ${Math.min(PAGE, found.length - shown.length)} more`;
    for (const chip of chips) chip.node.setAttribute("aria-pressed", String(chip.tag === state.tag));
  };

  const chips = [ALL, ...TAGS.keys()].map((tag) => {
    const count = tag === ALL ? rows.length : rows.filter((row) => row.tags.has(tag)).length;
    const node = make("button", "chip", `${tag === ALL ? "all" : TAGS[tag]} ${count}`);
    node.type = "button";
    node.disabled = count === 0;
    node.addEventListener("click", () => { state.tag = tag; state.limit = PAGE; show(); });
    return { tag, node };
  });

  const search = make("input");
  search.type = "search";
  search.placeholder = "search id, prompt, reference, answers";
  search.setAttribute("aria-label", search.placeholder);
  search.addEventListener("input", () => { state.words = search.value.toLowerCase(); state.limit = PAGE; show(); });

  const choose = make("select");
  choose.setAttribute("aria-label", "eval set");
  const names = [...new Set(rows.map((row) => row.evalset))];
  for (const name of ["", ...names]) {
    const option = make("option", "", name || "all eval sets");
    option.value = name;
    choose.append(option);
  }
  choose.addEventListener("change", () => { state.evalset = choose.value; state.limit = PAGE; show(); });

  const tools = make("div", "tools");
  tools.append(...chips.map((chip) => chip.node));
  if (names.length > 1) tools.append(choose);
  tools.append(search);
  holder.append(tools, said, list, more);

  const open = () => {
    if (!location.hash.startsWith("#example=")) return;
    let wanted;
    try {
      wanted = decodeURIComponent(location.hash.slice("#example=".length));
    } catch {
      return;
    }
    const place = rows.findIndex((row) => `${row.evalset}/${row.id}` === wanted || row.id === wanted);
    if (place < 0) {
      said.textContent = "the example that the address names is not in this file";
      return;
    }
    Object.assign(state, { tag: ALL, evalset: "", words: "", limit: Math.max(PAGE, place + 1) });
    choose.value = "";
    search.value = "";
    show();
    rows[place].node.open = true;
    rows[place].node.scrollIntoView({ block: "start" });
  };

  show();
  open();
  window.addEventListener("hashchange", open);
})();
