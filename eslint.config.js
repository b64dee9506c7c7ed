/* What the pages and the browser client are held to, beside the types (tsconfig.json) and the formatter. */

import js from "@eslint/js";
import globals from "globals";

const RULES = {
  ...js.configs.recommended.rules,
  "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
  // Functions may stand below those that call them: a module reads from its purpose to its details.
  "no-use-before-define": ["error", { functions: false }],
  "no-shadow": ["error", { hoist: "all" }],
  "no-var": "error",
  "no-throw-literal": "error",
  "no-underscore-dangle": "error", // what is private is #private
  "max-len": ["error", { code: 115, ignoreStrings: true, ignoreTemplateLiterals: true }], // the formatter leaves comments
  "no-implicit-coercion": ["error", { boolean: false }],
  "object-shorthand": "error",
  "prefer-const": "error",
  eqeqeq: "error",
};

export default [
  { ignores: ["static/vendor/", ".venv/"] },
  {
    files: ["static/**/*.js", "client/js/**/*.js"],
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: RULES,
  },
  { files: ["client/js/worklet.js"], languageOptions: { globals: globals.audioWorklet } },
  { files: ["*.js"], languageOptions: { globals: globals.node }, rules: RULES },
];
