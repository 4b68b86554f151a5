/**
 * Lets an official TypeScript client look for authorization at a server, and prints what its user is told.
 *
 * Arguments: the package with `auth`, and the URL of the endpoint.
 */
const [, , from, url] = process.argv;
const { auth } = await import(from);

const provider = {
  redirectUrl: "http://localhost:1/callback",
  clientMetadata: { client_name: "test", redirect_uris: ["http://localhost:1/callback"] },
  clientInformation: () => undefined,
  saveClientInformation: () => {},
  tokens: () => undefined,
  saveTokens: () => {},
  redirectToAuthorization: () => {},
  saveCodeVerifier: () => {},
  codeVerifier: () => "verifier",
  state: () => "state",
};

try {
  console.log(JSON.stringify({ result: await auth(provider, { serverUrl: url }) }));
} catch (error) {
  console.log(JSON.stringify({ name: error.name, code: error.errorCode ?? error.code, message: error.message }));
}
