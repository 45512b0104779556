// SPDX-License-Identifier: Apache-2.0
// A command's options. A thin view of CLI11, which takes five seconds of compiler time wherever it is included: only
// options.cpp, app.cpp and help.cpp do.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace trainctl::cli {

/// One option or positional argument while it is being described; chain with ->.
class OptionHandle {
 public:
  explicit OptionHandle(CLI::Option* option) : option_(option) {}
  OptionHandle* operator->() { return this; }
  OptionHandle* type_name(const std::string& name);  ///< as shown in help: RUN, FILE, TIME
  OptionHandle* required();
  OptionHandle* expected(int least, int most);  ///< how many values
  OptionHandle* one_of(const std::vector<std::string>& values);
  OptionHandle* non_negative();
  OptionHandle* one_value_each();  ///< repeatable, each occurrence takes exactly one value
  OptionHandle* hidden();

 private:
  CLI::Option* option_;
};

/// Where a command puts its options. `names`: "-n,--tail" for an option, "run" for a positional argument.
class Options {
 public:
  explicit Options(CLI::App& app) : app_(&app) {}
  OptionHandle add_flag(const std::string& names, bool& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, std::string& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, std::vector<std::string>& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, int& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, std::optional<std::string>& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, std::optional<int>& target, const std::string& help = {});
  OptionHandle add_option(const std::string& names, std::optional<std::uint64_t>& target, const std::string& help = {});
  /// A word below the command ("env ls"); `chosen` is set to its name when it is the one that is called.
  Options add_subcommand(const std::string& name, const std::string& summary, std::string& chosen);
  /// Everything from the first word that is no option on is not ours: see remaining(). `shown`: what it is, in the
  /// usage.
  void take_rest(const std::string& shown);
  [[nodiscard]] std::vector<std::string> remaining() const;

 private:
  CLI::App* app_;
};

}  // namespace trainctl::cli
