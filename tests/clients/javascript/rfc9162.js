// Has @transmute/rfc9162 judge proofs: JSON comes in a file, a list of true and false goes out.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { RFC9162 } = createRequire(import.meta.url)("@transmute/rfc9162");

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));

async function judge(one) {
  if (one.kind === "root") {
    const root = await RFC9162.treeHead(one.entries.map(bytes));
    return Buffer.from(root).toString("hex") === one.root;
  }
  if (one.kind === "inclusion") {
    const proof = { log_id: "", tree_size: one.size, leaf_index: one.index, inclusion_path: one.proof.map(bytes) };
    return RFC9162.verifyInclusionProof(bytes(one.root), bytes(one.leaf), proof);
  }
  const proof = { log_id: "", tree_size_1: one.old, tree_size_2: one.new, consistency_path: one.proof.map(bytes) };
  return RFC9162.verifyConsistencyProof(bytes(one.oldRoot), bytes(one.newRoot), proof);
}

const verdicts = [];
for (const one of JSON.parse(readFileSync(process.argv[2], "utf8"))) verdicts.push(await judge(one));
console.log(JSON.stringify(verdicts));
