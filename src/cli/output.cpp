// SPDX-License-Identifier: Apache-2.0
#include "cli/output.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/exit_code.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kBufferBytes = 1U << 16U;

const char* style_code(Style style) {
  switch (style) {
    case Style::bold:
      return "\x1b[1m";
    case Style::dim:
      return "\x1b[2m";
    case Style::red:
      return "\x1b[31m";
    case Style::green:
      return "\x1b[32m";
    case Style::yellow:
      return "\x1b[33m";
    case Style::blue:
      return "\x1b[34m";
    case Style::cyan:
      return "\x1b[36m";
    case Style::plain:
      break;
  }
  return "";
}

bool is_set(const char* name) {
  const auto value = base::get_env(name);
  return value && !value->empty() && *value != "0";
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = base::get_env(name);
    if (!value || value->empty()) continue;
    const std::string lower = base::to_lower(*value);
    return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
  }
  return false;
}

std::string position_text(const SourcePosition& at) {
  return printable(at.file) + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
}

std::string human_error(const Context& context, const Error& error) {
  std::string text = context.err.paint(Style::red, "error:") + " ";
  // Not twice: messages about a field's name, or about a flag, hold it.
  if (!error.field.empty() && !error.message.starts_with('-') &&
      error.message.find('"' + error.field + '"') == std::string::npos)
    text += printable(error.field) + ": ";
  // Messages may hold several lines (a resolver's output): the first is the sentence, the rest is indented.
  const auto lines = base::split(error.message, '\n');
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) text += "\n  ";
    text += printable(lines[i]);
  }
  for (const std::string& step : error.context) text += "\n  while: " + printable(step);
  if (error.at) text += "\n  --> " + position_text(*error.at);
  if (!error.hint.empty()) text += "\n  " + context.err.paint(Style::cyan, "fix:") + " " + printable(error.hint);
  return text;
}

}  // namespace

Stream::Stream(int fd) : fd_(fd), terminal_(::isatty(fd) == 1), utf8_(locale_is_utf8()) {
  const auto no_color = base::get_env("NO_COLOR");
  const auto term = base::get_env("TERM");
  colors_ = terminal_ && !(no_color && !no_color->empty()) && !(term && *term == "dumb");
  if (is_set("CLICOLOR_FORCE")) colors_ = !(no_color && !no_color->empty());
}

Stream::~Stream() {
  flush();
}

void Stream::write(std::string_view text) {
  buffer_.append(text);
  if (buffer_.size() >= kBufferBytes || terminal_) flush();
}

void Stream::line(std::string_view text) {
  buffer_.append(text);
  write("\n");
}

void Stream::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty() && !closed_ && error_ == 0) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written >= 0) {
      rest.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EPIPE) {
      closed_ = true;
    } else if (errno != EINTR && errno != EAGAIN) {
      error_ = errno;
    }
  }
  buffer_.clear();
}

std::string Stream::paint(Style style, std::string_view text) const {
  if (!colors_ || style == Style::plain) return std::string(text);
  return style_code(style) + std::string(text) + "\x1b[0m";
}

int Stream::width() const {
  if (const auto columns = base::get_env("COLUMNS")) {
    const int value = std::atoi(columns->c_str());
    if (value > 0) return value;
  }
  winsize size{};
  if (terminal_ && ::ioctl(fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

void Context::note(std::string_view text) const {
  if (!quiet) err.line(text);
  err.flush();
}

void Context::warn(std::string_view text) const {
  err.line(err.paint(Style::yellow, "warning:") + " " + std::string(text));
  err.flush();
}

void Context::print(const Json& document) const {
  out.line(base::dump_json(document));
}

void put_bytes(Json& document, const std::string& bytes) {
  if (base::is_utf8(bytes)) {
    document["text"] = bytes;
  } else {
    document["base64"] = base::base64(bytes);
  }
}

Json error_to_json(const Error& error) {
  Json json = {{"code", to_string(error.code)}, {"message", error.message}};
  json["field"] = error.field.empty() ? Json(nullptr) : Json(error.field);
  json["position"] = nullptr;
  if (error.at) json["position"] = {{"file", error.at->file}, {"line", error.at->line}, {"column", error.at->column}};
  json["hint"] = error.hint.empty() ? Json(nullptr) : Json(error.hint);
  if (!error.context.empty()) json["context"] = error.context;
  return json;
}

int report(const Context& context, const Error& error) {
  return report(context, Errors{error});
}

int report(const Context& context, const Errors& errors) {
  if (errors.empty()) return 70;
  context.out.flush();
  if (context.json) {
    Json document = {{"error", error_to_json(errors.front())}};
    if (errors.size() > 1) {
      document["errors"] = Json::array();
      for (const Error& error : errors) document["errors"].push_back(error_to_json(error));
    }
    context.print(document);
    context.out.flush();
  } else {
    for (const Error& error : errors) context.err.line(human_error(context, error));
    context.err.flush();
  }
  return base::exit_code_for(errors.front().code);
}

namespace {

/// The length of an invisible character at the begin of this UTF-8 text that could mislead: C1 controls, and what
/// reorders the text around it (U+202A..202E, U+2066..2069). 0 for all others.
std::size_t misleading_length(std::string_view text) {
  const auto within = [](std::string_view character, std::string_view first, std::string_view last) {
    return character >= first && character <= last;
  };
  if (within(text.substr(0, 2), "\xc2\x80", "\xc2\x9f")) return 2;
  const std::string_view three = text.substr(0, 3);
  const bool reorders = within(three, "\xe2\x80\xaa", "\xe2\x80\xae") || within(three, "\xe2\x81\xa6", "\xe2\x81\xa9");
  return reorders ? 3 : 0;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string clean;
  const std::string utf8 = base::to_utf8(text);
  constexpr std::string_view kHex = "0123456789abcdef";
  for (std::size_t i = 0; i < utf8.size();) {
    const auto byte = static_cast<unsigned char>(utf8[i]);
    if (const std::size_t skipped = misleading_length(std::string_view(utf8).substr(i)); skipped > 0) {
      i += skipped;
      continue;
    }
    if (byte == '\t') {
      clean += ' ';
    } else if (byte < 0x20 || byte == 0x7f) {
      clean.append("\\x").append(1, kHex[byte >> 4U]).append(1, kHex[byte & 15U]);
    } else {
      clean += utf8[i];
    }
    ++i;
  }
  return clean;
}

}  // namespace trainctl::cli
