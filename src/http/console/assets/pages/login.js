// The key is checked before it is kept.
import { introduce, keepKey, session } from "../api.js";
import { fill, h } from "../dom.js";

export function show(root, { done }) {
  const field = h("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false", "aria-describedby": "key-help key-error", required: true });
  const error = h("div", { class: "error", id: "key-error", role: "alert" });
  const button = h("button", { type: "submit", class: "primary" }, "Log in");
  const enter = async (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (!/^[\x21-\x7e]{1,256}$/.test(key)) {
      error.textContent = "A key is 1 to 256 visible characters without spaces.";
      return void field.focus();
    }
    button.disabled = true;
    error.textContent = "";
    try {
      await introduce(key);
      keepKey(key);
      done();
    } catch (problem) {
      session.role = null;
      error.textContent = problem.status === 401 ? "No such key, or it was revoked."
        : problem.status === 403 ? "This is a player's key. The console takes an operator's, a viewer's or an advertiser's."
          : `It can't be checked now: ${problem.message}`;
      field.setAttribute("aria-invalid", "true");
      field.focus();
    } finally {
      button.disabled = false;
    }
  };
  fill(root, h("form", { class: "card login", onSubmit: enter },
    h("h1", null, "Log in"),
    h("p", { class: "soft" }, "With an API key of an operator, a viewer or an advertiser. What it may see and change here is what it may through the API."),
    h("label", { for: "key" }, "API key"), field,
    h("div", { class: "help", id: "key-help" }, "Kept in this tab until it is closed. The first start of a server writes the operator's into operator.key in its data folder."),
    error, button));
  document.title = "Log in – Segue console";
  field.focus();
}
