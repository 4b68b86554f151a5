/**
 * Lets the drivers in this folder import packages that are installed in `.tools/` at the top of the repository.
 *
 * Node looks for packages in the folders above the importing file only, and the tests must not write into their own
 * folder. Preload this file (`node --import ./resolve.mjs driver.mjs`); it touches the drivers' own imports and leaves
 * those of the packages alone.
 */
import { registerHooks } from "node:module";

const here = new URL(".", import.meta.url).href;
const tools = new URL("../../../.tools/", import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    const isPackage = /^[@a-z]/i.test(specifier) && !specifier.includes(":");
    const isOurs = context.parentURL?.startsWith(here);
    return next(specifier, isPackage && isOurs ? { ...context, parentURL: tools } : context);
  },
});
