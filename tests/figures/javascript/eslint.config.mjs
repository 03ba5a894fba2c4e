import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    files: ["**/*.js"],
    languageOptions: { sourceType: "script", globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "names are not to be read as HTML" },
        { property: "outerHTML", message: "names are not to be read as HTML" },
      ],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
];
