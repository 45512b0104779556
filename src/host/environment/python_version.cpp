// SPDX-License-Identifier: Apache-2.0
#include "host/environment/python_version.hpp"

#include <algorithm>
#include <charconv>
#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

std::optional<PythonVersion> PythonVersion::parse(std::string_view text) {
  PythonVersion version;
  while (!text.empty()) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) break;
    version.parts.push_back(number);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty() || text.front() != '.') break;
    text.remove_prefix(1);
  }
  if (version.parts.empty()) return std::nullopt;
  return version;
}

std::string PythonVersion::text() const {
  std::string out;
  for (const int part : parts) out += (out.empty() ? "" : ".") + std::to_string(part);
  return out;
}

std::strong_ordering operator<=>(const PythonVersion& a, const PythonVersion& b) {
  const std::size_t count = std::max(a.parts.size(), b.parts.size());
  for (std::size_t i = 0; i < count; ++i) {
    const int left = i < a.parts.size() ? a.parts[i] : 0;
    const int right = i < b.parts.size() ? b.parts[i] : 0;
    if (const auto order = left <=> right; order != 0) return order;
  }
  return std::strong_ordering::equal;
}

namespace {

bool has_prefix(const PythonVersion& version, const PythonVersion& prefix) {
  return version.parts.size() >= prefix.parts.size() &&
         std::equal(prefix.parts.begin(), prefix.parts.end(), version.parts.begin());
}

std::string take_operator(std::string_view& term) {
  for (const std::string_view op : {"===", "==", "~=", ">=", "<=", "!=", "=", ">", "<"}) {
    if (term.starts_with(op)) {
      term.remove_prefix(op.size());
      return op.starts_with("==") ? "=" : std::string(op);
    }
  }
  return "=";
}

}  // namespace

Result<PythonVersionSpec> PythonVersionSpec::parse(std::string_view text) {
  PythonVersionSpec spec;
  for (const std::string& part : base::split(text, ',')) {
    std::string_view term = base::trim(part);
    if (term.empty()) continue;
    const std::string op = take_operator(term);
    term = base::trim(term);
    if (term == "*") continue;
    const bool wild = term.ends_with(".*");
    if (wild) term.remove_suffix(2);
    auto version = PythonVersion::parse(term);
    if (!version || version->text() != term) {
      return fail(Errc::invalid, "\"" + std::string(text) + "\" is not a Python version",
                  "write it like \"3.11\", \"3.11.7\" or \">=3.10,<3.13\"");
    }
    if (op == "~=") {  // ~=3.10 is >=3.10, ==3.*
      PythonVersion prefix = *version;
      if (prefix.parts.size() > 1) prefix.parts.pop_back();
      spec.terms_.push_back({"=", std::move(prefix)});
      spec.terms_.push_back({">=", *std::move(version)});
    } else {
      spec.terms_.push_back({op, *std::move(version)});
    }
  }
  return spec;
}

bool PythonVersionSpec::matches(const PythonVersion& version) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    if (term.op == "=") return has_prefix(version, term.version);
    if (term.op == "!=") return !has_prefix(version, term.version);
    if (term.op == ">=") return version >= term.version;
    if (term.op == "<=") return version <= term.version || has_prefix(version, term.version);
    if (term.op == ">") return version > term.version && !has_prefix(version, term.version);
    return version < term.version;
  });
}

std::string PythonVersionSpec::expression() const {
  std::string text;
  for (const Term& term : terms_) {
    std::string tuple = "(";
    for (const int part : term.version.parts) tuple += std::to_string(part) + ", ";
    tuple.resize(tuple.size() - (term.version.parts.size() > 1 ? 2 : 1));  // "(3, 11", but "(3,"
    text += (text.empty() ? "v[:" : " and v[:") + std::to_string(term.version.parts.size()) + "] " +
            (term.op == "=" ? "==" : term.op) + " " + tuple + ")";
  }
  return text.empty() ? "True" : text;
}

}  // namespace trainctl::host
