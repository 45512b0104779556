// SPDX-License-Identifier: Apache-2.0
// Catch2 v3 where it is installed, else v2 (Debian 12).
#pragma once
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>  // IWYU pragma: export
#else
#include <catch2/catch.hpp>  // IWYU pragma: export
#endif

#include "trainctl/result.hpp"

/// A failed REQUIRE of a result says what went wrong.
template <typename T>
struct Catch::StringMaker<trainctl::Result<T>> {
  static std::string convert(const trainctl::Result<T>& result) {
    return result ? "a value" : "error: " + result.error().message;
  }
};
