// Rolling an app back: asked twice, with the token. The token stays in this tab's session and goes to this host only.

import { plain } from "./element.js";
import { problem } from "./host.js";

const TOKEN = "samara-token";
const PATIENCE_MS = 20000;
const byId = (id) => document.getElementById(id);
let asked = null;

/** Asks whether to; `wanted` has tenant, app, revision, version and the token's file. */
export function confirm(wanted) {
  asked = wanted;
  const version = wanted.version ? ` (version ${wanted.version})` : "";
  byId("roll-back-what").textContent = plain(`Give all requests of ${wanted.tenant}/${wanted.app} to revision ${wanted.revision}${version}?`);
  byId("token-file").textContent = wanted.tokenFile ? plain(`in ${wanted.tokenFile}`) : "";
  byId("roll-back-problem").textContent = "";
  byId("token").value = sessionStorage.getItem(TOKEN) ?? "";
  byId("roll-back").showModal();
  (byId("token").value ? byId("roll-back-cancel") : byId("token")).focus();
}

async function rollBack() {
  const token = byId("token").value.trim();
  const say = (text) => { byId("roll-back-problem").textContent = plain(text); };
  if (!/^[\x21-\x7e]+$/.test(token)) return say("a token is one word of letters and digits");
  byId("roll-back-confirm").disabled = true;
  say("");
  try {
    const path = ["/v1/apps", encodeURIComponent(asked.tenant), encodeURIComponent(asked.app), "rollback"].join("/");
    const response = await fetch(path, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ revision: asked.revision }),
      signal: AbortSignal.timeout(PATIENCE_MS),
      credentials: "omit",
    });
    if (response.ok) {
      sessionStorage.setItem(TOKEN, token);
      byId("roll-back").close();
    } else {
      if (response.status === 401) sessionStorage.removeItem(TOKEN);
      say(await problem(response));
    }
  } catch (error) {
    say(`the host did not answer: ${error.message}`);
  }
  byId("roll-back-confirm").disabled = false;
}

/** Listens to the dialog; `done` is called after it has closed. */
export function listen(done) {
  byId("roll-back-cancel").addEventListener("click", () => byId("roll-back").close());
  byId("roll-back").addEventListener("close", () => { byId("token").value = ""; done(); });
  byId("roll-back-form").addEventListener("submit", (event) => {
    event.preventDefault();
    rollBack();
  });
}
