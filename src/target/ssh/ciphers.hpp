// SPDX-License-Identifier: Apache-2.0
// Which cipher a connection gets (docs/decisions/0018-ciphers.md). OpenSSH asks for chacha20-poly1305 first, also where
// the processor has instructions for AES; there AES-GCM, one of OpenSSH's defaults too, carries twice as much.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::target {

/// The value of `-o Ciphers=…` that puts AES-GCM at the head of OpenSSH's own defaults. Empty where something else may
/// have been decided: ssh's configuration (`config`, the file of -F; else the user's and the system's, with what they
/// include) speaks of ciphers or cannot be followed to its end, ssh is not the system's own, or this processor has no
/// AES instructions.
std::optional<std::string> preferred_ciphers(const std::optional<std::filesystem::path>& config);

/// May that configuration file, or one that it includes, say which ciphers are to be used? What cannot be read or
/// understood may. Relative names of included files are looked for in `folder`, `~` is `home`.
bool may_name_ciphers(const std::filesystem::path& file, const std::filesystem::path& folder,
                      const std::filesystem::path& home);

/// Is that what ssh prints when it does not understand the value? Old ones cannot put anything at the head of a list.
bool is_refusal_of_ciphers(std::string_view errors);

}  // namespace trainctl::target
