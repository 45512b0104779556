// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <tl/expected.hpp>  // IWYU pragma: export

#include "trainctl/error.hpp"

namespace trainctl {

template <class T = void>
using Result = tl::expected<T, Error>;

/// A value, or every mistake that was found.
template <class T = void>
using ResultAll = tl::expected<T, Errors>;

/// Makes the unexpected side: `return fail(Errc::not_found, "no run named x")`.
inline tl::unexpected<Error> fail(Errc code, std::string message, std::string hint = {}) {
  Error error{.code = code, .message = std::move(message)};
  error.hint = std::move(hint);
  return tl::make_unexpected(std::move(error));
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::make_unexpected(std::move(error));
}

/// The error of a failed operating system call: "cannot WHAT: <strerror(number)>". ENOSPC and EDQUOT become
/// Errc::store, EACCES and EPERM Errc::denied, ENOENT Errc::not_found, the rest Errc::io.
Error system_error(const std::string& what, int number);
/// What the system calls an errno: "No such file or directory".
std::string errno_text(int number);
inline tl::unexpected<Error> fail_errno(const std::string& what, int number) {
  return tl::make_unexpected(system_error(what, number));
}

}  // namespace trainctl

#define TRAINCTL_CONCAT_(a, b) a##b
#define TRAINCTL_CONCAT(a, b) TRAINCTL_CONCAT_(a, b)

/// Returns the error of a failed Result to the caller.
#define TRY(expression)                                             \
  do {                                                              \
    if (auto trainctl_try_ = (expression); !trainctl_try_)          \
      return tl::make_unexpected(std::move(trainctl_try_).error()); \
  } while (false)

/// `TRY_ASSIGN(auto x, f());`: the value, or the error to the caller.
#define TRY_ASSIGN(declaration, expression) \
  TRY_ASSIGN_(TRAINCTL_CONCAT(trainctl_result_, __LINE__), declaration, expression)
// A declaration and a name cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define TRY_ASSIGN_(result, declaration, expression)                    \
  auto result = (expression);                                           \
  if (!(result)) return tl::make_unexpected(std::move(result).error()); \
  declaration = std::move(*(result))
// NOLINTEND(bugprone-macro-parentheses)
