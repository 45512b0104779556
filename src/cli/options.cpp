// SPDX-License-Identifier: Apache-2.0
#include "cli/options.hpp"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace trainctl::cli {
namespace {

std::string not_negative(const std::string& text) {
  return text.starts_with('-') ? "must not be negative: " + text : std::string();
}

/// What is wrong with a number; said here because CLI11 only says that it could not convert.
template <class T>
std::string not_whole(const std::string& text) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (problem == std::errc::result_out_of_range) return text + " is too large";
  return problem == std::errc() && stop == end ? "" : '"' + text + "\" is not a whole number";
}

}  // namespace

OptionHandle* OptionHandle::type_name(const std::string& name) {
  option_->type_name(name);
  return this;
}

OptionHandle* OptionHandle::required() {
  option_->required();
  return this;
}

OptionHandle* OptionHandle::expected(int least, int most) {
  option_->expected(least, most);
  return this;
}

OptionHandle* OptionHandle::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return this;
}

OptionHandle* OptionHandle::non_negative() {
  option_->check(not_negative);
  return this;
}

OptionHandle* OptionHandle::one_value_each() {
  option_->allow_extra_args(false);
  return this;
}

OptionHandle* OptionHandle::hidden() {
  option_->group("");
  return this;
}

OptionHandle Options::add_flag(const std::string& names, bool& target, const std::string& help) {
  return OptionHandle(app_->add_flag(names, target, help));
}

OptionHandle Options::add_option(const std::string& names, std::string& target, const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help));
}

OptionHandle Options::add_option(const std::string& names, std::vector<std::string>& target, const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help));
}

OptionHandle Options::add_option(const std::string& names, int& target, const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help)->check(not_whole<int>));
}

OptionHandle Options::add_option(const std::string& names, std::optional<std::string>& target,
                                 const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help));
}

OptionHandle Options::add_option(const std::string& names, std::optional<int>& target, const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help)->check(not_whole<int>));
}

OptionHandle Options::add_option(const std::string& names, std::optional<std::uint64_t>& target,
                                 const std::string& help) {
  return OptionHandle(app_->add_option(names, target, help)->check(not_negative)->check(not_whole<std::uint64_t>));
}

Options Options::add_subcommand(const std::string& name, const std::string& summary, std::string& chosen) {
  CLI::App* sub = app_->add_subcommand(name, summary);
  sub->set_help_flag();
  sub->callback([name, &chosen] { chosen = name; });
  return Options(*sub);
}

void Options::take_rest(const std::string& shown) {
  app_->prefix_command();
  app_->footer(shown);
}

std::vector<std::string> Options::remaining() const {
  return app_->remaining();
}

}  // namespace trainctl::cli
