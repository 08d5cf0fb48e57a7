// Asking the coordinator: what /api/v1 says, and operations as they run.

const API = "/api/v1";

function told(answer) {
  return new Error(answer?.hint ? `${answer.message} (${answer.hint})` : answer?.message ?? "the answer broke off");
}

/** What a path of the API says. */
export async function ask(path) {
  const response = await fetch(API + path);
  const answer = await response.json();
  if (!response.ok) throw told(answer);
  return answer;
}

/** Do something: lines of JSON as it runs, of which `heard` gets those of progress; the result, or an error. */
export async function command(path, body, heard = () => {}) {
  const response = await fetch(API + path, { method: "POST", body: JSON.stringify(body) });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", last = null;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter(Boolean)) {
      last = JSON.parse(line);
      if (last.type === "progress") heard(last);
    }
  }
  if (rest.trim()) last = JSON.parse(rest);
  if (!response.ok || !last || last.type === "error" || last.type === "progress") throw told(last?.type === "progress" ? null : last);
  return last;
}

/** The path of a version. */
export const pathOf = (reference) => `/checkpoints/${reference.split("/").map(encodeURIComponent).join("/")}`;

/** Follow the events; `heard(kind, data)` for each, `lost()` and `found()` as the connection goes and comes. */
export function follow(kinds, heard, lost, found) {
  const source = new EventSource(`${API}/events`);
  for (const kind of kinds) source.addEventListener(kind, (message) => heard(kind, JSON.parse(message.data)));
  source.addEventListener("error", lost);
  source.addEventListener("open", found);
}
