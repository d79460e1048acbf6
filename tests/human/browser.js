// As little of a browser as the page needs: elements by id, a storage, keys. Reads {script, study, steps} from standard input, does the
// steps, and prints what is shown after each of them; {"csv": true} prints the votes.
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
class Element {
  constructor(tag) { Object.assign(this, { tag, children: [], attributes: {}, value: "", textContent: "", hidden: false, listeners: {} }); }
  setAttribute(name, value) { this.attributes[name] = value; }
  appendChild(child) { this.children.push(child); }
  replaceChildren(...children) { this.children = children; }
  addEventListener(name, call) { this.listeners[name] = call; }
  blur() {}
  click() { if (this.onclick) this.onclick({}); }
  get play() { return this.tag === "video" ? () => { this.paused = false; this.ended = false; } : undefined; }
  pause() { this.paused = true; }
}
const elements = {};
const kept = input.storage || {};
const keys = [];
globalThis.document = {
  getElementById: (id) => (elements[id] ||= new Element("div")),
  createElement: (tag) => Object.assign(new Element(tag), { paused: true, ended: false }),
  addEventListener: (name, call) => { if (name === "keydown") keys.push(call); },
  activeElement: null,
};
globalThis.localStorage = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = value; } };
globalThis.URL = { createObjectURL: () => "blob:" };
globalThis.Blob = class {};
elements.study = new Element("script");
elements.study.textContent = input.study;
new Function(input.script)();
const shown = () => ({
  query: elements.pair.hidden ? null : elements.query.textContent, done: !elements.done.hidden, count: elements.count.textContent,
  left: elements.pair.hidden ? null : elements.left.children[0].src, right: elements.pair.hidden ? null : elements.right.children[0].src,
  playing: elements.pair.hidden ? null : [elements.left, elements.right].map((side) => !side.children[0].paused),
});
const out = [];
for (const step of input.steps) {
  if (step.name !== undefined) { elements.rater.value = step.name; elements.rater.onchange(); }
  if (step.key !== undefined) keys.forEach((call) => call({ key: step.key, target: null, repeat: step.repeat || false, preventDefault() {} }));
  if (step.click !== undefined) elements[step.click].click();
  if (step.loaded) [elements.left, elements.right].forEach((side) => side.children[0].listeners.canplay?.());
  if (step.ended) [elements.left, elements.right].forEach((side, at) => { if (step.ended[at]) { side.children[0].ended = true; side.children[0].paused = true; side.children[0].onended(); } });
  out.push(shown());
}
elements.export.click();
console.log(JSON.stringify({ shown: out, csv: elements.csv.value, storage: kept }));
