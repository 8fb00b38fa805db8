// Light or dark: as the system says, until somebody chooses.
const KEY = "segue.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

export function theme() {
  const chosen = localStorage.getItem(KEY);
  return chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
}

function apply() {
  document.documentElement.dataset.theme = theme();
  const button = document.getElementById("theme");
  if (button) {
    button.textContent = theme() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${theme() === "dark" ? "light" : "dark"} theme`);
  }
  window.dispatchEvent(new Event("segue:theme"));
}

document.getElementById("theme").addEventListener("click", () => {
  localStorage.setItem(KEY, theme() === "dark" ? "light" : "dark");
  apply();
});
dark.addEventListener("change", apply);
apply();
