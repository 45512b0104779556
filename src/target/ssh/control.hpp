// SPDX-License-Identifier: Apache-2.0
// The shared connections (ControlMaster) that ssh keeps for us, and what to do when one of them hangs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl::target {

/// A folder of ours for what may be lost: 0700, below XDG_RUNTIME_DIR or the folder for temporary files. Empty where
/// none is possible.
std::optional<std::filesystem::path> runtime_folder();

/// Are the paths of control sockets short enough where this is XDG_RUNTIME_DIR?
bool sockets_fit(const std::filesystem::path& runtime);

/// The folder for the control sockets of `key`, below a runtime folder. Empty where none is possible: the path of a
/// socket must not be longer than 90 bytes.
std::optional<std::filesystem::path> control_folder(const std::string& key);

/// Is there a connection to share?
bool has_master(const std::filesystem::path& folder);

/// What was noted of the host whose connections are shared there; empty without. It may be lost: at worst a start takes
/// a round trip more.
std::string read_note(const std::filesystem::path& folder);
/// 0600. An empty note is none.
void write_note(const std::filesystem::path& folder, std::string_view note);

/// Ends the masters of a folder by their process ids, those that still connect too, and removes their sockets: a
/// stopped master, or one on a dead link, hangs whoever asks it, past all options of ssh. They are gone afterwards. How
/// many there were.
int end_masters(const std::filesystem::path& folder);

}  // namespace trainctl::target
