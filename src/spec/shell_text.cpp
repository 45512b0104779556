// SPDX-License-Identifier: Apache-2.0
#include "spec/shell_text.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/references.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

enum class Mode { command, substitution, double_quotes, brace, arithmetic };

struct Frame {
  Mode mode = Mode::command;
  bool quoted = false;            ///< within double quotes
  const char* refused = nullptr;  ///< why a reference is an error in here
};

/// Walks over the shell's text with the quoting state of bash and sh. It only has to know where a reference stands;
/// what it takes for something else is still replaced by a variable, never by a value.
class Scanner {
 public:
  Scanner(std::string_view text, const std::vector<Piece>& pieces, const TextPlace& place)
      : text_(text), place_(place), pieces_(pieces) {
    frames_.push_back({});
  }

  ResultAll<ShellText> run() {
    for (piece_ = 0; piece_ < pieces_.size(); ++piece_) {
      const Piece& piece = pieces_[piece_];
      if (piece.reference) {
        reference(piece);
      } else {
        literal_ = piece.text;
        for (at_ = 0; at_ < literal_.size();) step();
      }
      previous_ = piece.reference ? 'x' : piece.text.back();
    }
    if (!errors_.empty()) return tl::make_unexpected(std::move(errors_));
    return std::move(out_);
  }

 private:
  Frame& top() { return frames_.back(); }
  [[nodiscard]] bool next_is(std::string_view word) const { return literal_.substr(at_).starts_with(word); }
  void copy(std::size_t count) {
    count = std::min(count, literal_.size() - at_);
    out_.text += literal_.substr(at_, count);
    at_ += count;
  }
  /// The character before `at_`, also over the edge of pieces; '\n' at the start.
  [[nodiscard]] char before() const { return at_ > 0 ? literal_[at_ - 1] : previous_; }

  void push(Mode mode) {
    Frame frame{.mode = mode, .quoted = top().quoted, .refused = top().refused};
    if (mode == Mode::double_quotes) frame.quoted = true;
    if (mode == Mode::substitution) {
      if (frame.quoted && frame.refused == nullptr) frame.refused = "in $(…) within double quotes";
      frame.quoted = false;
    }
    if (mode == Mode::arithmetic) frame.refused = "in arithmetic";
    frames_.push_back(frame);
  }
  void pop() {
    if (frames_.size() > 1) frames_.pop_back();
  }

  void step() {
    if (verbatim_) return skip_verbatim();
    const char c = literal_[at_];
    if (c == '\\') {
      backslash_ = at_ + 1 == literal_.size();
      return copy(2);
    }
    backslash_ = false;
    if (c == '`') return begin_verbatim("`", "in backticks", true, 1);
    if (next_is("$((")) return enter(Mode::arithmetic, 3);
    if (next_is("$(")) return enter(Mode::substitution, 2);
    if (next_is("${") && top().mode != Mode::arithmetic) return enter(Mode::brace, 2);
    const Mode mode = top().mode;
    if (mode == Mode::double_quotes) return leave_or_copy("\"");
    if (mode == Mode::arithmetic) return arithmetic();
    if (closes(mode, c)) return leave(1);
    if (top().quoted) return top().mode == Mode::brace && c == '"' ? enter(Mode::double_quotes, 1) : copy(1);
    unquoted(c);
  }

  static bool closes(Mode mode, char c) {
    return (mode == Mode::brace && c == '}') || (mode == Mode::substitution && c == ')');
  }

  void unquoted(char c) {
    if (next_is("$'")) return begin_verbatim("'", "in single quotes", true, 2);
    if (c == '\'') return begin_verbatim("'", "in single quotes", false, 1);
    if (c == '"') return enter(Mode::double_quotes, 1);
    if (top().mode == Mode::brace) return copy(1);
    if (next_is("((")) return enter(Mode::arithmetic, 2);
    if (c == '(') return enter_group();
    if (c == '#' && word_starts()) return begin_verbatim("\n", nullptr, false, 1);
    if (next_is("<<<")) return copy(3);
    if (next_is("<<")) return heredoc();
    if (c == '\n' && !heredocs_.empty()) {
      copy(1);
      return begin_heredoc();
    }
    copy(1);
  }

  [[nodiscard]] bool word_starts() const {
    return std::string_view(" \t\n;&|(").find(before()) != std::string_view::npos;
  }

  void enter(Mode mode, std::size_t width) {
    if (mode == Mode::arithmetic) depth_ = 0;
    copy(width);
    push(mode);
  }
  /// ( … ): like the text around it, but it has its own closing bracket.
  void enter_group() {
    const Frame same{.mode = Mode::substitution, .quoted = false, .refused = top().refused};
    copy(1);
    frames_.push_back(same);
  }
  void leave(std::size_t width) {
    copy(width);
    pop();
  }
  void leave_or_copy(std::string_view end) { return next_is(end) ? leave(end.size()) : copy(1); }

  void arithmetic() {
    if (literal_[at_] == '(') ++depth_;
    if (literal_[at_] == ')' && depth_ > 0) {
      --depth_;
      return copy(1);
    }
    if (next_is("))")) return leave(2);
    if (literal_[at_] == ')') return leave(1);  // it was ( ( … ) … ) after all
    copy(1);
  }

  /// A stretch without structure, up to `end`. `why` null: references in it are left alone (a comment).
  void begin_verbatim(std::string_view end, const char* why, bool escapes, std::size_t width) {
    copy(width);
    verbatim_ = true;
    verbatim_end_ = end;
    verbatim_why_ = why;
    verbatim_escapes_ = escapes;
  }

  void skip_verbatim() {
    if (heredoc_body_) return skip_heredoc_line();
    if (verbatim_escapes_ && literal_[at_] == '\\') return copy(2);
    if (!next_is(verbatim_end_)) return copy(1);
    verbatim_ = false;
    if (verbatim_end_ != "\n") copy(verbatim_end_.size());
  }

  void heredoc() {
    copy(2);
    if (at_ < literal_.size() && literal_[at_] == '-') copy(1);
    while (at_ < literal_.size() && (literal_[at_] == ' ' || literal_[at_] == '\t')) copy(1);
    std::string word;
    char quote = '\0';
    for (; at_ < literal_.size(); copy(1)) {
      const char c = literal_[at_];
      if (quote == '\0' && std::string_view(" \t\n;&|<>()").find(c) != std::string_view::npos) break;
      if (c == quote) {
        quote = '\0';
      } else if (quote == '\0' && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c != '\\') {
        word.push_back(c);
      }
    }
    if (!word.empty()) heredocs_.push_back(std::move(word));
  }

  void begin_heredoc() {
    verbatim_ = heredoc_body_ = true;
    verbatim_why_ = "in a heredoc";
  }

  void skip_heredoc_line() {
    const std::size_t end = literal_.find('\n', at_);
    const std::string_view line = literal_.substr(at_, end == std::string_view::npos ? end : end - at_);
    const std::size_t tabs = std::min(line.find_first_not_of('\t'), line.size());
    const bool whole = before() == '\n';
    const bool closes = whole && line.substr(tabs) == heredocs_.front();
    copy(line.size() + 1);
    if (!closes) return;
    heredocs_.erase(heredocs_.begin());
    if (heredocs_.empty()) verbatim_ = heredoc_body_ = false;
  }

  void reference(const Piece& piece) {
    const char* why = verbatim_ ? verbatim_why_ : top().refused;
    if (verbatim_ && verbatim_why_ == nullptr) {  // in a comment
      out_.text += "...";
      return;
    }
    if (backslash_) why = "after a backslash";
    backslash_ = false;
    if (why != nullptr) {
      Error error{.code = Errc::invalid, .message = piece.text + " cannot be used " + why};
      error.at = position_in(place_, text_, piece.at);
      error.field = place_.field;
      error.hint = "assign it first: x=" + piece.text + "; then use \"$x\"";
      errors_.push_back(std::move(error));
      return;
    }
    const std::string variable = "${" + variable_of(*piece.reference) + "}";
    out_.text += top().quoted ? variable : "\"" + variable + "\"";
    out_.references.push_back(*piece.reference);
  }

  std::string_view text_;
  const TextPlace& place_;
  const std::vector<Piece>& pieces_;
  std::size_t piece_ = 0;
  std::string_view literal_;
  std::size_t at_ = 0;
  char previous_ = '\n';
  std::vector<Frame> frames_;
  int depth_ = 0;  ///< brackets open within arithmetic
  bool backslash_ = false;
  bool verbatim_ = false;
  bool heredoc_body_ = false;
  bool verbatim_escapes_ = false;
  std::string_view verbatim_end_;
  const char* verbatim_why_ = nullptr;
  std::vector<std::string> heredocs_;
  ShellText out_;
  Errors errors_;
};

}  // namespace

ResultAll<ShellText> expand_shell(std::string_view command, const TextPlace& place) {
  TRY_ASSIGN(const std::vector<Piece> pieces, split_references(command, place));
  return Scanner(command, pieces, place).run();
}

}  // namespace trainctl::spec
