// Ask with Node's grpc-js: node grpc_js.mjs FOLDER, where npm put it; requests and answers as in battery.run_program.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(join(process.argv[2], "package.json"));
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const proto = fileURLToPath(new URL("inference.proto", import.meta.url));
const { inference } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true, longs: Number }));
const given = JSON.parse(readFileSync(0, "utf8"));
const client = new inference.GRPCInferenceService(given.url, grpc.credentials.createInsecure());

function ask({ shape, datatype, data, parameters }) {
  const request = {
    model_name: given.model,
    parameters: Object.fromEntries(Object.entries(parameters).map(([key, text]) => [key, { string_param: text }])),
    inputs: [{ name: "image", datatype, shape }],
    outputs: [{ name: "age" }],
    raw_input_contents: [Buffer.from(data, "base64")],
  };
  return new Promise((resolve) => {
    client.ModelInfer(request, { deadline: Date.now() + 60000 }, (error, response) => {
      resolve(error ? { refused: error.message } : answer(response));
    });
  });
}

function answer({ raw_output_contents: [raw], parameters }) {
  return {
    ages: Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(4 * i)),
    parameters: Object.fromEntries(Object.entries(parameters).map(([key, value]) => [key, value.string_param])),
  };
}

for (const request of given.requests) console.log(JSON.stringify(await ask(request)));
client.close();
