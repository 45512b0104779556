// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/scanner.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

namespace {

using Found = std::vector<std::pair<std::string, double>>;

/// What the preset finds in the text, which is fed in pieces of `piece` bytes; the steps go to `steps`.
Found scan_text(const std::string& preset, const std::string& text, std::vector<std::int64_t>* steps = nullptr,
                std::size_t piece = 1000) {
  const std::vector<std::string> patterns = {preset};
  const auto set = compile_patterns(patterns);
  REQUIRE(set);
  PatternScanner scanner(*set, 0);
  std::vector<format::MetricPoint> points;
  for (std::size_t at = 0; at < text.size(); at += piece)
    scanner.feed(std::string_view(text).substr(at, piece), base::WallTime{}, points);
  scanner.finish(base::WallTime{}, points);
  CHECK(scanner.consumed() == text.size());
  Found found;
  for (const auto& point : points) {
    found.emplace_back(point.name, point.value);
    if (steps != nullptr) steps->push_back(point.step.value_or(-1));
  }
  return found;
}

}  // namespace

TEST_CASE("the Keras preset takes the last bar of an epoch", "[presets]") {
  const std::string text =
      "Epoch 1/2\n"
      "\x1b[1m 1/60\x1b[0m ---- \x1b[1m9s\x1b[0m 1ms/step - accuracy: 0.1 - loss: 2.0\r"
      "\x1b[1m60/60\x1b[0m ---- \x1b[32m1s\x1b[0m 3ms/step - accuracy: 0.5 - loss: 1.0\b\b\b"
      "\x1b[1m60/60\x1b[0m ---- 1s 3ms/step - accuracy: 0.5 - loss: 1.0 - val_loss: 1.5e-1\n"
      "Epoch 2/2\n60/60 - 1s - loss: nan\n";
  for (const std::size_t piece : {1U, 7U, 1000U}) {
    std::vector<std::int64_t> steps;
    const Found found = scan_text("preset:keras", text, &steps, piece);
    REQUIRE(found.size() == 4);
    CHECK(found[0] == std::pair<std::string, double>("accuracy", 0.5));
    CHECK(found[2] == std::pair<std::string, double>("val_loss", 0.15));
    CHECK(steps == std::vector<std::int64_t>{1, 1, 1, 2});
  }
}

TEST_CASE("the Keras preset keeps every epoch of fit() with one epoch at a time", "[presets]") {
  const auto losses = [](const std::string& text) {
    std::vector<double> values;
    for (const auto& [name, value] : scan_text("preset:keras", text)) {
      if (name == "loss") values.push_back(value);
    }
    return values;
  };
  using Values = std::vector<double>;
  const auto fit = [](const std::string& of, const std::string& loss) {  // what verbose=1 prints to a terminal
    const std::string whole = of + "/" + of + " [====] - 0s 3ms/step - loss: " + loss;
    return " 1/" + of + " [>...] - ETA: 0s - loss: 9.0\r" + whole + "\r" + whole + " - val_loss: 0.7\n";
  };
  const std::string evaluate = " 1/10 [>...] - loss: 8.0\r10/10 [====] - 0s 3ms/step - loss: 8.5\n";
  CHECK(losses(fit("60", "0.5") + fit("60", "0.5") + fit("60", "0.25")) == Values{0.5, 0.5, 0.25});
  CHECK(losses(fit("60", "0.5") + evaluate + fit("60", "0.25") + evaluate) == Values{0.5, 0.25});
  CHECK(losses("Epoch 1/1\n" + fit("60", "0.5") + "Epoch 1/1\n" + fit("60", "0.25")) == Values{0.5, 0.25});
  CHECK(losses("Epoch 2/2\n" + fit("60", "0.5") + evaluate + fit("60", "0.25")) == Values{0.5, 0.25});
  CHECK(losses("1/Unknown - loss: 9\r7/7 [=] - loss: 0.5\n1/Unknown - loss: 9\r7/7 [=] - loss: 0.5\n") ==
        Values{0.5, 0.5});
  CHECK(losses("60/60 - 1s - 3ms/step - loss: 0.5\n60/60 - 0s - 3ms/step - loss: 0.5\n") == Values{0.5, 0.5});
  const std::string one = "1/1 [====] - 0s 3ms/step - loss: ";  // one batch: no bar that is not whole
  CHECK(losses(one + "0.5\r" + one + "0.5 - val_loss: 1\n" + one + "0.25\r" + one + "0.25 - val_loss: 1\n") ==
        Values{0.5, 0.25});
}

TEST_CASE("dictionaries, rounds and pairs", "[presets]") {
  CHECK(scan_text("preset:huggingface", " 10%|#| 5/50 {'eval_loss': 0.5, 'name': 'x', 'epoch': 1.0}\n") ==
        Found{{"eval_loss", 0.5}, {"epoch", 1}});
  CHECK(scan_text("preset:huggingface", "{'a': {'b': 1}}\n").empty());
  std::vector<std::int64_t> steps;
  CHECK(scan_text("preset:xgboost", "[12:00:00] [7]\ttrain-auc:0.5+0.01\teval-auc:0.25\n", &steps) ==
        Found{{"train-auc", 0.5}, {"eval-auc", 0.25}});
  CHECK(steps == std::vector<std::int64_t>{7, 7});
  CHECK(scan_text("preset:lightgbm", "[10]\ttraining's binary_logloss: 0.5\n") ==
        Found{{"training/binary_logloss", 0.5}});
  steps.clear();
  CHECK(scan_text("preset:key-value", "Epoch [3/10] loss: 0.5, val/acc=87.5% lr = 1e-3 (time: 12:30:01) 3x=4 name: x\n",
                  &steps) == Found{{"loss", 0.5}, {"val/acc", 0.875}, {"lr", 0.001}});
  CHECK(steps == std::vector<std::int64_t>{3, 3, 3});
}

TEST_CASE("the value on the line after an azureml metric", "[presets]") {
  const std::string text =
      "noise\nAttempted to log scalar metric a b:\n0.5\nAttempted to log scalar metric c:\r\n[1]\n0.5\n";
  for (const std::size_t piece : {1U, 5U, 1000U})
    CHECK(scan_text("preset:azureml", text, nullptr, piece) == Found{{"a b", 0.5}});
}

TEST_CASE("a scanner stopped between the two lines goes on before the first", "[presets]") {
  const std::vector<std::string> patterns = {"preset:azureml"};
  const auto set = compile_patterns(patterns);
  PatternScanner scanner(*set, 0);
  std::vector<format::MetricPoint> points;
  scanner.feed("x\nAttempted to log scalar metric a:\n", base::WallTime{}, points);
  CHECK(scanner.consumed() == 2);
  scanner.feed("1\n", base::WallTime{}, points);
  CHECK(scanner.consumed() == 38);
  CHECK(points.size() == 1);
}

TEST_CASE("an unknown preset names the known ones", "[presets]") {
  const auto compiled = Pattern::compile("preset:kears");
  REQUIRE_FALSE(compiled);
  CHECK(compiled.error().message.find("did you mean \"keras\"?") != std::string::npos);
}
