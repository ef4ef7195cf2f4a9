// A strategy in JavaScript: submits the signal of a JSON file as it stands, and prints the decision.
//
//   npm install && node client.js 127.0.0.1:50051 ../signal.json
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [target = "127.0.0.1:50051", file = path.join(__dirname, "..", "signal.json")] =
  process.argv.slice(2);

const definition = protoLoader.loadSync("trade_engine/v1/signal_service.proto", {
  includeDirs: [path.join(__dirname, "..", "..", "proto")],
  keepCase: true, // the names of the contract
  enums: String,
  longs: String,
  defaults: true,
});
const { SignalService } = grpc.loadPackageDefinition(definition).trade_engine.v1;

const client = new SignalService(target, grpc.credentials.createInsecure());
const signal = JSON.parse(fs.readFileSync(file, "utf8"));
const deadline = Date.now() + 10_000;

// After UNAVAILABLE or DEADLINE_EXCEEDED send the same signal again, under the same signal_id.
client.SubmitSignal({ signal }, { deadline }, (error, answer) => {
  if (error) {
    console.error(`not decided: ${error.message}`);
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(answer));
  }
  client.close();
});
