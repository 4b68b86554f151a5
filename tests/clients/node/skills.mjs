/**
 * Reads all skills of a server with the official TypeScript client 2.x, which verifies each file: `MODE http URL` or
 * `MODE stdio CMD...`. Prints what it read as one JSON object.
 */
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SkillsClient } from "@modelcontextprotocol/client/ext/skills";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [mode, kind, ...address] = process.argv.slice(2);
const transport =
  kind === "http"
    ? new StreamableHTTPClientTransport(new URL(address[0]))
    : new StdioClientTransport({ command: address[0], args: address.slice(1), stderr: "ignore" });
const client = new Client({ name: "skills", version: "1.0.0" }, { versionNegotiation: { mode } });
await client.connect(transport);

const skills = new SkillsClient(client);
const { supported, directoryRead } = skills;
const seen = { revision: client.getNegotiatedProtocolVersion(), supported, directoryRead, skills: {}, folders: {} };
const walk = async (uri) => {
  const children = (await skills.readDirectory(uri)).resources;
  seen.folders[uri] = children.map((child) => child.name);
  for (const child of children) if (child.mimeType === "inode/directory") await walk(child.uri);
};
for (const listed of (await skills.list()).skills) {
  const { skill } = await skills.get(listed.uri);
  const files = {};
  for (const { uri } of skill.resources === "dynamic" ? [{ uri: skill.uri }] : skill.resources) {
    const file = await skills.read(skill, uri);
    files[uri] = { verified: file.verified, size: file.bytes.length };
  }
  seen.skills[skill.uri] = { name: skill.frontmatter.name, files };
  await walk(skill.uri.slice(0, -"/SKILL.md".length));
}
await client.close();
console.log(JSON.stringify(seen));
