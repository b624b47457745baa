// Calls to the proxy. The session is a cookie that scripts cannot read; what changes something needs
// the CSRF token of the session beside it.

const API = "dashboard/api/";
let csrf = "";

// What the proxy says instead of an answer; `status` is 0 if there was no answer.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(method, path, body, more = {}) {
  const headers = { "content-type": "application/json", "x-csrf-token": csrf };
  const options = { method, headers, credentials: "same-origin", redirect: "error", ...more };
  if (body !== undefined) options.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(API + path, options);
  } catch {
    throw new Refused(0, "The proxy does not answer.");
  }
  const told = await response.json().catch(() => ({}));
  if (response.ok) return told;
  if (response.status === 401 && path !== "login") dispatchEvent(new Event("logged-out"));
  throw new Refused(response.status, told.error?.message ?? `The proxy answers ${response.status}.`);
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const remove = (path, more) => call("DELETE", path, undefined, more);

export async function logIn(token) {
  await post("login", { token });
  try {
    await resume();
  } catch (refused) {
    if (refused.status !== 401) throw refused;
    throw new Refused(401, "The browser has not kept the session: use https, or a loopback address.");
  }
}

// Takes up the session of the browser, if there is one; raises Refused if not.
export async function resume() {
  ({ csrf } = await get("session"));
}

export async function logOut() {
  await post("logout", {});
}
