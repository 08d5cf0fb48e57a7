// What can be done, each after a question; and how what was asked for goes.

import { $, make, settle } from "/dom.js";
import { command } from "/asking.js";
import { counted, rate, size, span } from "/words.js";

const notices = new Map();
let number = 0;

/**
 * Ask first: what was filled in, or null. Fields are [name, label, kind, value]. `learn` is a promise of a sentence that
 * says more, for what is not known at once.
 */
function confirmed(title, text, act, { fields = [], learn = null, grave = false } = {}) {
  const dialog = $("dialog");
  $("dialog-title").textContent = title;
  $("dialog-text").textContent = text;
  $("dialog-more").textContent = learn ? "Looking at what that means…" : "";
  $("dialog-more").hidden = !learn;
  $("dialog-do").textContent = act;
  $("dialog-do").className = grave ? "grave" : "strong";
  $("dialog-fields").replaceChildren(...fields.map(field));
  dialog.returnValue = "";
  dialog.showModal();
  const mine = ++number;
  dialog.dataset.number = mine;
  learn?.catch((error) => error.message).then((more) => { if (Number(dialog.dataset.number) === mine) $("dialog-more").textContent = more; });
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    const inputs = [...$("dialog-fields").querySelectorAll("input")];
    const values = Object.fromEntries(inputs.map((one) => [one.name, one.type === "checkbox" ? one.checked : one.value.trim()]));
    resolve(dialog.returnValue === "do" ? values : null);
  }, { once: true }));
}

function field([name, label, kind, value]) {
  if (kind === "checkbox") return make("label", { className: "check" }, make("input", { type: kind, name, checked: value }), label);
  return make("label", {}, label, make("input", { type: kind, name, value, required: true, autocomplete: "off", spellcheck: "false" }));
}

/** The actions by name; each gets the data of the button that was pressed. */
export const ACTIONS = {
  async repair() {
    const learn = command("/repair", { dry_run: true }).then((plan) => {
      if (!plan.plan.length) return plan.stuck.length ? `${counted(plan.stuck.length, "chunk")} lack copies that cannot be made now: ${plan.stuck[0].reason}` : "Nothing lacks a copy now.";
      return `${counted(plan.plan.length, "copy", "copies")} to make, ${size(plan.plan.reduce((sum, row) => sum + row.bytes, 0))}.`;
    });
    const text = "Missing copies are made again at once, from machine to machine.";
    if (await confirmed("Repair now?", text, "Repair", { learn })) {
      await operate("Repair", "/repair", {}, (done) => `${counted(done.copies, "copy", "copies")} made${done.short ? `, ${counted(done.short, "chunk")} still lack some` : ""}`);
    }
  },

  async verifyAll() {
    await verify("Verify everything?", "Verify everything", []);
  },

  async verify({ reference }) {
    await verify(`Verify ${reference}?`, `Verify ${reference}`, [reference]);
  },

  async store() {
    const text = "A file or folder of the coordinator's machine. It is stored where the copies are safest.";
    const given = await confirmed("Store a path", text, "Store", { fields: [["path", "Path on that machine", "text", ""], ["name", "Name, like run/step-1000", "text", ""]] });
    if (given) await operate(`Store ${given.name}`, "/store", given, (done) => `stored as ${done.name}@${done.version}, ${counted(done.copies, "copy", "copies")}`);
  },

  async gather({ reference }) {
    const text = "It is written to a folder of the coordinator's machine; nothing there is replaced.";
    const given = await confirmed(`Gather ${reference}`, text, "Gather", { fields: [["to", "Folder on that machine", "text", ""]] });
    if (given) await operate(`Gather ${reference}`, "/gather", { reference, to: given.to }, (done) => `${size(done.bytes)} in ${done.path}`);
  },

  async remove({ reference }) {
    const learn = command("/remove", { reference, dry_run: true })
      .then((found) => `Kept for ${span(found.keep_s)}; then ${size(found.chunk_bytes)} of each copy, which nothing else needs, are freed.`);
    const text = "It goes off every list. Until its time is over, it can be brought back from Removed.";
    if (await confirmed(`Remove ${reference}?`, text, "Remove", { learn, grave: true })) {
      await operate(`Remove ${reference}`, "/remove", { reference }, (done) => `can be brought back for ${span(done.keep_s)}`);
    }
  },

  async undelete({ reference }) {
    const learn = command("/undelete", { reference, dry_run: true })
      .then((found) => `${counted(found.copies, "copy", "copies")} of everything are still there; it comes back as ${found.name}, in a new version.`);
    if (await confirmed(`Undelete ${reference}?`, "It comes back as the newest version of its name.", "Undelete", { learn })) {
      await operate(`Undelete ${reference}`, "/undelete", { reference }, (done) => (done.unchanged ? "it was the newest already" : `back as ${done.name}@${done.version}`));
    }
  },

  async drain({ node, name, state }) {
    const cancel = state === "draining";
    const learn = cancel ? null : command("/drain", { node, dry_run: true })
      .then((found) => found.objects_left && !found.plan.length && found.reason ? found.reason : `${counted(found.objects_left, "chunk")} to copy, ${size(found.bytes_left)}.`);
    const text = cancel ? "It stays in the cluster and keeps what it has." : "What it keeps is copied to the others first; then it leaves the cluster.";
    if (await confirmed(`${cancel ? "Stop draining" : "Drain"} ${name}?`, text, cancel ? "Stop" : "Drain", { learn, grave: !cancel })) {
      await operate(`${cancel ? "Stop draining" : "Drain"} ${name}`, "/drain", { node, cancel }, (done) => (done.reason && done.state === "draining" ? `it has not left yet: ${done.reason}` : `it is ${done.state}`));
    }
  },

  dismiss({ notice }) {
    notices.delete(notice);
    showNotices();
  },
};

async function verify(question, title, references) {
  const given = await confirmed(question, "Every machine is asked for its copies.", "Verify", { fields: [["deep", "Read every copy back and hash it (as long as reading it takes)", "checkbox", true]] });
  if (given) {
    await operate(title, "/verify", { references, deep: given.deep }, ({ checkpoints }) => {
      const bad = checkpoints.filter((one) => one.health !== "healthy");
      const damaged = checkpoints.reduce((sum, one) => sum + one.damaged.length, 0);
      return `${counted(checkpoints.length - bad.length, "checkpoint")} healthy${bad.length ? `, ${bad.map((one) => `${one.name} ${one.health}`).slice(0, 5).join(", ")}` : ""}${damaged ? `; ${counted(damaged, "bad copy", "bad copies")} found` : ""}`;
    });
  }
}

/** Do it, and say how it goes and how it ended. */
async function operate(title, path, body, outcome) {
  const key = String(++number);
  const tell = (text, mood) => { notices.set(key, { title, text, mood }); showNotices(); };
  tell("under way", "busy");
  try {
    const done = await command(path, body, (line) => tell(progress(line), "busy"));
    tell(outcome(done), "good");
  } catch (error) {
    tell(error.message, "bad");
  }
  document.dispatchEvent(new Event("changed"));
}

function progress(line) {
  const amount = line.bytes_total ? `${size(line.bytes_done)} of ${size(line.bytes_total)}` : line.phase;
  return [amount, line.rate ? rate(line.rate) : "", line.waiting_for && line.waiting_for !== line.phase ? `waiting for ${line.waiting_for}` : ""].filter(Boolean).join(", ");
}

function showNotices() {
  settle($("notices"), [...notices].reverse().map(([key, one]) => make("li", { className: one.mood, "data-key": key },
    make("span", {}, make("strong", {}, one.title), make("span", {}, `: ${one.text}`)),
    one.mood === "busy" ? null : make("button", { type: "button", "data-do": "dismiss", "data-notice": key, "aria-label": `Dismiss: ${one.title}` }, "Dismiss"))));
}
