// SPDX-License-Identifier: Apache-2.0
// stdout is data, stderr is talk. The only place that writes to either.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {

enum class Style { plain, bold, dim, red, green, yellow, blue, cyan };

/// A file descriptor with a buffer and what is known of the terminal behind it.
class Stream {
 public:
  explicit Stream(int fd);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  void write(std::string_view text);
  void line(std::string_view text);
  void flush();
  /// `text` in `style` where colours are on, else `text` itself.
  [[nodiscard]] std::string paint(Style style, std::string_view text) const;

  [[nodiscard]] bool is_terminal() const { return terminal_; }
  [[nodiscard]] bool colors() const { return colors_; }
  [[nodiscard]] bool utf8() const { return utf8_; }
  [[nodiscard]] int width() const;  ///< columns; 80 where there is no terminal, COLUMNS overrides
  /// The reader went away (EPIPE): nothing more is written; who streams should stop, quietly.
  [[nodiscard]] bool closed() const { return closed_; }
  /// A write failed for another reason (full disk behind a redirection): errno, else 0.
  [[nodiscard]] int write_error() const { return error_; }
  void disable_colors() { colors_ = false; }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
  bool terminal_ = false;
  bool colors_ = false;
  bool utf8_ = false;
  bool closed_ = false;
  int error_ = 0;
  std::string buffer_;
};

/// What every command gets.
struct Context {
  Stream& out;
  Stream& err;
  bool json = false;
  bool quiet = false;
  bool utc = false;
  std::string program = "trainctl";
  std::vector<std::string> argv = {};  ///< as typed, for the record

  /// Talk: a line on stderr unless --quiet.
  void note(std::string_view text) const;
  void warn(std::string_view text) const;
  /// One JSON document on stdout, with a newline.
  void print(const Json& document) const;
};

/// Prints the errors as people read them (stderr), or under --json as {"error":…} on stdout; returns the exit code.
int report(const Context& context, const Error& error);
int report(const Context& context, const Errors& errors);

/// Bytes of a log as a member of `document`: "text", or "base64" when they are not UTF-8.
void put_bytes(Json& document, const std::string& bytes);

/// The shape of an error under --json.
Json error_to_json(const Error& error);

/// Remote bytes for a terminal: only SGR colours, newline, tab, CR and printable text survive; control and bidi
/// characters are shown as escapes or dropped. `state` carries a sequence split over two chunks.
class TerminalFilter {
 public:
  std::string filter(std::string_view bytes);

 private:
  std::string pending_;
};

/// A name or message we print ourselves: all control characters escaped, one line.
std::string printable(std::string_view text);

/// Cells a text takes on a terminal (escape sequences count nothing, wide characters two).
std::size_t display_width(std::string_view text);
/// Cut to at most `width` cells, with an ellipsis where something was cut.
std::string fit(std::string_view text, std::size_t width);

}  // namespace trainctl::cli
