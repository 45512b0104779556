// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "format/metric.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/http.hpp"
#include "host/mlflow/tracking.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

/// A tracking state, and requests to it one after the other.
struct Client {
  Tracking tracking{"01run", "digits-1", "Default", 1000};
  std::vector<ApiAnswer> answers;
  int ids = 0;

  [[nodiscard]] std::vector<format::MetricPoint> history(const std::string& name) const {
    std::vector<format::MetricPoint> found;
    for (const ApiAnswer& answer : answers) {
      for (const auto& point : answer.points) {
        if (point.name == name) found.push_back(point);
      }
    }
    return found;
  }

  Json call(const std::string& method, const std::string& path, const Json& body = Json::object(), int status = 200) {
    ApiRequest request{.method = method, .path = "/api/2.0/mlflow/" + path};
    if (method == "GET")
      for (const auto& [key, value] : body.items()) request.query[key] = value.get<std::string>();
    else
      request.body = base::dump_json(body);
    ApiContext context{.now = base::WallTime(std::chrono::seconds(5)), .fresh_id = "id" + std::to_string(++ids)};
    context.history = [this](const std::string& name) { return history(name); };
    const ApiAnswer answer = answer_mlflow(tracking, request, context);
    INFO(path << " " << answer.body);
    CHECK(answer.status == status);
    for (const Json& record : answer.records) tracking.apply(record);
    for (const auto& point : answer.points) tracking.apply(point);
    answers.push_back(answer);
    return *base::parse_json(answer.body);
  }
};

HttpHead head_of(const std::string& text, int status = 0) {
  HttpHead head;
  const auto outcome = parse_http_head(text, head);
  INFO(text);
  CHECK(outcome.status == status);
  if (status == 0) CHECK(outcome.used == text.size());
  return head;
}

std::string body_of(const HttpHead& head, const std::string& bytes, std::size_t piece, bool whole = true) {
  HttpBody body(head);
  std::string out, pending;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    pending += bytes.substr(at, piece);
    pending.erase(0, body.feed(pending, [&out](std::string_view part) { out += part; }));
  }
  CHECK(body.done() == whole);
  return out;
}

}  // namespace

TEST_CASE("heads of HTTP requests", "[mlflow]") {
  const auto head =
      head_of("POST /a%20b?x=1&y=a+b%2F HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nAuthorization: Bearer t\r\n\r\n");
  CHECK(head.method == "POST");
  CHECK(head.path == "/a%20b");
  CHECK(head.query.at("y") == "a b/");
  CHECK(head.content_length == 5U);
  CHECK(head.authorization == "Bearer t");
  CHECK(head.keep_alive);
  CHECK_FALSE(head_of("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").keep_alive);
  CHECK_FALSE(head_of("GET / HTTP/1.0\r\n\r\n").keep_alive);
  HttpHead part;
  CHECK(parse_http_head("GET / HTTP/1.1\r\nHost: h\r\n", part).used == 0);
  head_of("GET / HTTP/2\r\n\r\n", 505);
  head_of("GET http://x/ HTTP/1.1\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
  head_of("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501);
  head_of("GET /?a=%zz HTTP/1.1\r\n\r\n", 400);
  CHECK(parse_http_head("GET /" + std::string(kMaxHttpHead, 'a'), part).status == 431);
}

TEST_CASE("bodies of HTTP requests wherever they are cut", "[mlflow]") {
  HttpHead plain;
  plain.content_length = 5;
  HttpHead chunked;
  chunked.chunked = true;
  const std::string chunks = "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: a\r\n\r\n";
  for (std::size_t piece = 1; piece <= chunks.size(); ++piece) {
    CHECK(body_of(plain, "hello", piece) == "hello");
    CHECK(body_of(chunked, chunks, piece) == "hello!");
  }
  body_of(chunked, "5\r\nhel", 3, false);
  HttpBody bad(chunked);
  bad.feed("x\r\n", [](std::string_view) {});
  CHECK(bad.malformed());
}

TEST_CASE("metrics, parameters and tags of an MLflow client", "[mlflow]") {
  Client client;
  CHECK(client.call("GET", "experiments/get-by-name", {{"experiment_name", "any"}})["experiment"]["experiment_id"] ==
        "1");
  client.call("POST", "runs/log-metric",
              {{"run_id", "01run"}, {"key", "loss"}, {"value", "NaN"}, {"timestamp", 2000}, {"step", "3"}});
  REQUIRE(client.answers.back().points.size() == 1);
  const auto& point = client.answers.back().points[0];
  CHECK(point.name == "loss");
  CHECK(std::isnan(point.value));
  CHECK(point.step == 3);
  CHECK(point.t == base::WallTime(std::chrono::seconds(2)));
  client.call("POST", "runs/log-batch",
              {{"run_id", "01run"},
               {"metrics", Json::array({{{"key", "acc"}, {"value", 0.5}, {"timestamp", 1}, {"step", 1}}})},
               {"params", Json::array({{{"key", "lr"}, {"value", "0.1"}}})},
               {"tags", Json::array({{{"key", "team"}, {"value", "vision"}}})}});
  const Json run = client.call("GET", "runs/get", {{"run_id", "01run"}})["run"];
  CHECK(run["info"]["status"] == "RUNNING");
  CHECK(run["info"]["artifact_uri"] == "mlflow-artifacts:/1/01run/artifacts");
  CHECK(run["data"]["params"][0]["value"] == "0.1");
  CHECK(run["data"]["metrics"][0]["key"] == "acc");
  CHECK(run["data"]["metrics"][1]["value"] == "NaN");
  client.call("POST", "runs/update", {{"run_id", "01run"}, {"status", "FINISHED"}});
  client.call("POST", "runs/update", {{"run_id", "01run"}, {"status", "RUNNING"}});
  client.call("POST", "runs/log-metric", {{"run_id", "none"}, {"key", "x"}, {"value", 1}}, 404);
  client.call("POST", "runs/log-metric", {{"run_id", "01run"}, {"key", "x"}, {"value", "text"}}, 400);
  client.call("GET", "no/such/endpoint", Json::object(), 404);
}

TEST_CASE("runs of their own get names in front", "[mlflow]") {
  Client client;
  const Json parent = Json::array({{{"key", "mlflow.parentRunId"}, {"value", "01run"}}});
  const Json one = client.call("POST", "runs/create", {{"run_name", "fold"}, {"tags", parent}})["run"];
  const Json two = client.call("POST", "runs/create", {{"run_name", "fold"}, {"tags", parent}})["run"];
  const std::string id = two["info"]["run_id"];
  client.call("POST", "runs/log-metric", {{"run_id", id}, {"key", "loss"}, {"value", 1}});
  CHECK(client.answers.back().points[0].name == "fold-2/loss");
  CHECK(client.tracking.find_run(id)->metrics.count("loss") == 1);
  client.call("POST", "runs/log-parameter", {{"run_id", id}, {"key", "lr"}, {"value", "1"}});
  CHECK(client.tracking.find_run(id)->params.at("lr") == "1");
  CHECK(artifact_path(client.tracking, "1/" + id + "/artifacts/plots/a.png") == "fold-2/plots/a.png");
  const Json found =
      client.call("POST", "runs/search", {{"filter", "tags.`mlflow.parentRunId` = '01run' and metrics.loss > 0"}});
  REQUIRE(found["runs"].size() == 1);
  CHECK(found["runs"][0]["info"]["run_id"] == id);
  client.call("POST", "runs/search", {{"filter", "params.x LIKE 'a'"}}, 400);
}

TEST_CASE("logged models and artifacts", "[mlflow]") {
  Client client;
  const Json model = client.call("POST", "logged-models", {{"name", "model"}, {"source_run_id", "01run"}})["model"];
  const std::string id = model["info"]["model_id"];
  CHECK(model["info"]["status"] == "LOGGED_MODEL_PENDING");
  CHECK(client.call("PATCH", "logged-models/" + id, {{"status", "LOGGED_MODEL_READY"}})["model"]["info"]["status"] ==
        "LOGGED_MODEL_READY");
  CHECK(client.call("GET", "logged-models/" + id)["model"]["info"]["name"] == "model");
  CHECK(artifact_path(client.tracking, "/1/models/" + id + "/artifacts/MLmodel") == "model/MLmodel");
  CHECK(artifact_path(client.tracking, "/1/01run/artifacts/a/b.txt") == "a/b.txt");
  CHECK(artifact_path(client.tracking, "/1/01run/artifacts") == ".");
  CHECK(artifact_path(client.tracking, "/1/01run/artifacts/../../x").empty());
  CHECK(artifact_path(client.tracking, "/1/other/artifacts/x").empty());
}

TEST_CASE("values that are only linked to a model are not new", "[mlflow]") {
  Client client;
  const auto log = [&client](double value, int step, const char* model) {
    client.call("POST", "runs/log-batch",
                {{"run_id", "01run"},
                 {"metrics", Json::array({{{"key", "loss"},
                                           {"value", value},
                                           {"timestamp", 1000 + step},
                                           {"step", step},
                                           {"model_id", model}}})}});
    return client.answers.back().points.size();
  };
  CHECK(log(0.5, 0, "") == 1);
  CHECK(log(0.25, 1, "m-1") == 1);  // new, and of a model
  CHECK(log(0.5, 0, "m-1") == 0);
  CHECK(log(0.5, 0, "") == 1);  // who says it again without a model means it
  CHECK(log(0.75, 0, "m-1") == 1);
}

TEST_CASE("datasets and registered models", "[mlflow]") {
  Client client;
  const Json dataset = {{"dataset", {{"name", "points"}, {"digest", "d1"}, {"source_type", "local"}, {"source", "{}"}}},
                        {"tags", Json::array({{{"key", "mlflow.data.context"}, {"value", "training"}}})}};
  client.call("POST", "runs/log-inputs", {{"run_id", "01run"}, {"datasets", Json::array({dataset})}});
  REQUIRE(client.answers.back().records.size() == 1);
  const Json& input = client.answers.back().records[0];
  CHECK(input["type"] == "input");
  CHECK(input["name"] == "points");
  CHECK(input["digest"] == "d1");
  client.call("POST", "runs/log-inputs", {{"run_id", "none"}, {"datasets", Json::array({dataset})}}, 404);
  CHECK(client.call("POST", "registered-models/create", {{"name", "irises"}})["registered_model"]["name"] == "irises");
  const Json version =
      client.call("POST", "model-versions/create",
                  {{"name", "irises"}, {"source", "models:/m-1"}, {"run_id", "01run"}})["model_version"];
  CHECK(version["status"] == "READY");
  CHECK(version["version"] == "1");
  CHECK(client.tracking.find_run("01run")->tags.at("mlflow.registeredModel") == "irises");
}

TEST_CASE("records fit their lines", "[mlflow]") {
  std::string line;
  encode_record({{"type", "tag"}, {"t", 1.5}, {"name", "history"}, {"value", std::string(10000, 'x')}, {"rank", 0}},
                line);
  CHECK(line.size() <= format::kMaxMetricLine);
  CHECK(base::parse_json(line)->at("truncated") == true);
}
