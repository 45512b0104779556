// SPDX-License-Identifier: Apache-2.0
#include "spec/expand.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "spec/literal_secrets.hpp"
#include "spec/load.hpp"
#include "spec/references.hpp"
#include "spec/run_configuration.hpp"
#include "spec/shell_text.hpp"
#include "support/catch.hpp"
#include "trainctl/error.hpp"

using namespace trainctl;
using namespace trainctl::spec;

namespace {

/// The text, or "! " and the first error with the column it points to (the text begins at column 1, its quote at 0).
std::string shell(std::string_view text) {
  const auto made = expand_shell(text, {.at = SourcePosition{"f", 1, 0}, .field = "command"});
  if (made) return made->text;
  return "! " + std::to_string(made.error().front().at->column) + " " + made.error().front().message;
}

std::string plain(std::string_view text, const Values& values) {
  const auto made = expand_text(text, values, {});
  return made ? *made : "! " + describe(made.error().front());
}

Values some_values() {
  Values values;
  values.inputs = {{"digits", "/data/a b.csv"}};
  values.outputs = {{"model", "/out/model"}};
  values.parameters = {{"lr", "0.1"}, {"opt.name", "adam"}};
  values.env = {{"HOME", "/h"}};
  values.submit_env = {{"USER", "ann"}};
  return values;
}

}  // namespace

TEST_CASE("references in argv are replaced inside the element", "[expand]") {
  const Values values = some_values();
  CHECK(plain("--x=${{inputs.digits}}", values) == "--x=/data/a b.csv");
  CHECK(plain("${{ outputs.model }}/${{parameters.opt.name}}", values) == "/out/model/adam");
  CHECK(plain("${{env.HOME}} ${{submit.env.USER}}", values) == "/h ann");
  CHECK(plain("$${{inputs.digits}} $$ ${x}", values) == "${{inputs.digits}} $$ ${x}");
  CHECK(plain("${{inputs.digts}}", values) == "! there is no input \"digts\", did you mean \"digits\"?");
  CHECK(plain("${{inputs.other}}", values) == "! there is no input \"other\"   (there are: digits)");
  CHECK(plain("${{input.digits}}", values) == "! \"input.digits\" is not a reference, did you mean \"inputs.digits\"?");
  CHECK(plain("a ${{inputs.x", values) == "! this ${{ is never closed   (write $${{ for the characters themselves)");
  CHECK(plain("${{steps.a.outputs.b}}", values).starts_with("! ${{steps…}} is for pipelines"));
  CHECK(plain("${{submit.env.HF_TOKEN}}", values) ==
        "! submit.env.HF_TOKEN looks like a secret, and values from submit.env are recorded   (write \"secrets\": "
        "[\"HF_TOKEN\"])");
}

TEST_CASE("a command text gets quoted variables, never values", "[expand]") {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"python t.py ${{inputs.x}}", "python t.py \"${TRAINCTL_INPUT_X}\""},
      {"a \"${{inputs.x}}/y\" b", "a \"${TRAINCTL_INPUT_X}/y\" b"},
      {"a --d=${{outputs.m}}/z", "a --d=\"${TRAINCTL_OUTPUT_M}\"/z"},
      {"a ${{parameters.my-lr}} ${{env.Q}} ${{submit.env.USER}}",
       "a \"${TRAINCTL_PARAM_MY_LR}\" \"${Q}\" \"${TRAINCTL_SUBMIT_USER}\""},
      {"x=$(cat ${{inputs.x}})", "x=$(cat \"${TRAINCTL_INPUT_X}\")"},
      {"x=$(cat \"${{inputs.x}}\"); y \"${{inputs.x}}\"",
       "x=$(cat \"${TRAINCTL_INPUT_X}\"); y \"${TRAINCTL_INPUT_X}\""},
      {"( a ) ${{inputs.x}}", "( a ) \"${TRAINCTL_INPUT_X}\""},
      {"echo it\\'s ${{inputs.x}}", "echo it\\'s \"${TRAINCTL_INPUT_X}\""},
      {"echo \"a\\\"\" ${{inputs.x}}", "echo \"a\\\"\" \"${TRAINCTL_INPUT_X}\""},
      {"echo ${a:-${{inputs.x}}}", "echo ${a:-\"${TRAINCTL_INPUT_X}\"}"},
      {"echo \"${a:-${{inputs.x}}}\"", "echo \"${a:-${TRAINCTL_INPUT_X}}\""},
      {"a # don't\nb ${{inputs.x}}", "a # don't\nb \"${TRAINCTL_INPUT_X}\""},
      {"a#b ${{inputs.x}}", "a#b \"${TRAINCTL_INPUT_X}\""},
      {"'quoted' ${{inputs.x}}", "'quoted' \"${TRAINCTL_INPUT_X}\""},
      {"$'it\\'s' ${{inputs.x}}", "$'it\\'s' \"${TRAINCTL_INPUT_X}\""},
      {"echo $((1<<2)) ${{inputs.x}}", "echo $((1<<2)) \"${TRAINCTL_INPUT_X}\""},
      {"cat <<E\nit's\nE\necho ${{inputs.x}}", "cat <<E\nit's\nE\necho \"${TRAINCTL_INPUT_X}\""},
      {"cat <<-'E F'\nE F\necho ${{inputs.x}}", "cat <<-'E F'\nE F\necho \"${TRAINCTL_INPUT_X}\""},
      {"cat <<< ${{inputs.x}}", "cat <<< \"${TRAINCTL_INPUT_X}\""},
      {"echo $${{inputs.x}}", "echo ${{inputs.x}}"},
      {"a '${{inputs.x}}'", "! 4 ${{inputs.x}} cannot be used in single quotes"},
      {"a $'${{inputs.x}}'", "! 5 ${{inputs.x}} cannot be used in single quotes"},
      {"a `b ${{inputs.x}}`", "! 6 ${{inputs.x}} cannot be used in backticks"},
      {"a \"`b ${{inputs.x}}`\"", "! 8 ${{inputs.x}} cannot be used in backticks"},
      {"a \"$(b ${{inputs.x}})\"", "! 9 ${{inputs.x}} cannot be used in $(…) within double quotes"},
      {"a \"$(b \"${{inputs.x}}\")\"", "! 11 ${{inputs.x}} cannot be used in $(…) within double quotes"},
      {"cat <<E\n${{inputs.x}}\nE", "! 10 ${{inputs.x}} cannot be used in a heredoc"},
      {"cat <<'E'\na\n${{inputs.x}}\nE", "! 15 ${{inputs.x}} cannot be used in a heredoc"},
      {"echo $((${{parameters.n}}+1))", "! 9 ${{parameters.n}} cannot be used in arithmetic"},
      {"echo \\${{inputs.x}}", "! 8 ${{inputs.x}} cannot be used after a backslash"},
  };
  for (const auto& [text, expected] : cases) {
    INFO(text);
    CHECK(shell(text) == expected);
  }
}

TEST_CASE("parameters become arguments by style", "[expand]") {
  const std::vector<Parameter> parameters = {{"lr", Scalar(0.1)},
                                             {"amp", Scalar(true)},
                                             {"debug", Scalar(false)},
                                             {"seed", Scalar(nullptr)},
                                             {"layers", std::vector<Scalar>{std::int64_t{3}, std::int64_t{4}}},
                                             {"-v", Scalar(std::string("x y"))}};
  const auto words = [&](ParameterStyle style) { return base::join(parameter_arguments(parameters, style), "|"); };
  CHECK(words(ParameterStyle::dashes_space) == "--lr|0.1|--amp|--layers|3|4|-v|x y");
  CHECK(words(ParameterStyle::dashes_equals) == "--lr=0.1|--amp|--layers=3|--layers=4|-v=x y");
  CHECK(words(ParameterStyle::equals) == "lr=0.1|amp=true|debug=false|seed=null|layers=[3,4]|-v=x y");
  CHECK(words(ParameterStyle::env).empty());
  CHECK(words(ParameterStyle::none).empty());
  const TextMap variables = parameter_variables(parameters);
  CHECK(variables.at(0) == std::pair<std::string, std::string>("TRAINCTL_PARAM_LR", "0.1"));
  CHECK(variables.at(4).second == "3 4");
}

TEST_CASE("a whole run is expanded", "[expand]") {
  RunConfiguration config;
  config.command = CommandLine(std::vector<std::string>{"python", "t.py", "${{inputs.digits}}"});
  config.parameters = {{"lr", Scalar(0.1)}, {"out", Scalar(std::string("${{outputs.model}}"))}};
  config.arguments = {"${{parameters.out}}", "${{env.B}}"};
  config.environment_variables = {{"A", "${{submit.env.USER}}"}, {"B", "<${{env.A}}>"}};
  const auto made = expand_run(config, some_values());
  REQUIRE(made);
  CHECK(base::join(made->words, "|") == "python|t.py|/data/a b.csv|--lr|0.1|--out|/out/model|/out/model|<ann>");
  CHECK(made->variables ==
        TextMap{{"A", "ann"}, {"B", "<ann>"}, {"TRAINCTL_PARAM_LR", "0.1"}, {"TRAINCTL_PARAM_OUT", "/out/model"}});
  CHECK(made->recorded == ValueMap{{"USER", "ann"}});

  config.command = CommandLine(std::string("echo ${{submit.env.USER}} ${{inputs.digits}}"));
  config.arguments.clear();
  const auto text = expand_run(config, some_values());
  REQUIRE(text);
  CHECK(text->words.empty());
  CHECK(text->shell_text == "echo \"${TRAINCTL_SUBMIT_USER}\" \"${TRAINCTL_INPUT_DIGITS}\"");
  CHECK(text->variables.back() == std::pair<std::string, std::string>("TRAINCTL_SUBMIT_USER", "ann"));
}

TEST_CASE("secrets are recognised by form and by name", "[expand]") {
  // Put together here so that no scanner takes this file for a leak.
  CHECK(literal_secret("AK" + std::string("IAIOSFODNN7EXAMPLE")));
  CHECK(literal_secret("-----BEGIN " + std::string("RSA PRIVATE KEY-----\nabc")));
  CHECK(literal_secret("ey" + std::string("JhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh")));
  CHECK(literal_secret("https://a.example/c?sv=1&sig=" + std::string("abcdefghijklmnop")));
  CHECK(literal_secret("gh" + std::string("p_0123456789abcdefghij")));
  for (const char* harmless :
       {"", "2", "AKIA", "hello world", "key=value", "cuda:0", "sig=1", "eyJ.a.b", "/data/sig=/x"}) {
    INFO(harmless);
    CHECK_FALSE(literal_secret(harmless));
  }
  for (const char* name :
       {"HF_TOKEN", "API_KEY", "APIKEY", "AWS_SECRET_ACCESS_KEY", "db_password", "TOKENS", "KEY_FILE"}) {
    CHECK(is_secret_name(name));
  }
  for (const char* name : {"USER", "HOME", "KEYBOARD", "PWD", "TOKENIZERS_PARALLELISM"})
    CHECK_FALSE(is_secret_name(name));
}
