// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace trainctl::spec {

/// What kind of secret the text seems to be ("an AWS access key"), empty when it looks harmless. Only well-known forms:
/// access keys, private keys, signed tokens and URLs, tokens of the large services.
std::optional<std::string_view> literal_secret(std::string_view text);

}  // namespace trainctl::spec
