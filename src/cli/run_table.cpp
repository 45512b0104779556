// SPDX-License-Identifier: Apache-2.0
#include "cli/run_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/contact_view.hpp"
#include "cli/output.hpp"
#include "cli/time_text.hpp"
#include "format/state.hpp"
#include "index/field.hpp"
#include "index/query.hpp"
#include "index/sqlite.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kMostMetrics = 2;

constexpr std::size_t kMostPadded = 120;

std::size_t total_width(const std::vector<std::size_t>& widths, const std::vector<bool>& shown) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (shown[i]) total += widths[i] + (total > 0 ? kGap : 0);
  }
  return total;
}

/// The widest column that may be cut; columns.size() when there is none.
std::size_t widest_of(std::span<const TableColumn> columns, const std::vector<std::size_t>& widths,
                      const std::vector<bool>& shown) {
  std::size_t widest = columns.size();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!shown[i] || columns[i].narrowest == 0 || widths[i] <= columns[i].narrowest) continue;
    if (widest == columns.size() || widths[i] > widths[widest]) widest = i;
  }
  return widest;
}

/// The least important column that may be left out; columns.size() when there is none.
std::size_t least_of(std::span<const TableColumn> columns, const std::vector<bool>& shown) {
  std::size_t least = columns.size();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!shown[i] || columns[i].rank == 0) continue;
    if (least == columns.size() || columns[i].rank > columns[least].rank) least = i;
  }
  return least;
}

/// Cuts and leaves out until the columns fit.
void shrink(std::span<const TableColumn> columns, std::vector<std::size_t>& widths, std::vector<bool>& shown,
            std::size_t width) {
  for (;;) {
    const std::size_t total = total_width(widths, shown);
    if (total <= width) return;
    const std::size_t widest = widest_of(columns, widths, shown);
    if (widest < columns.size()) {
      widths[widest] -= std::min(total - width, widths[widest] - columns[widest].narrowest);
      continue;
    }
    const std::size_t least = least_of(columns, shown);
    if (least == columns.size()) return;
    shown[least] = false;
  }
}

std::string cell_text(const Stream& out, const TableColumn& column, const TableCell& cell, std::size_t width,
                      bool last) {
  const std::string text = fit(cell.text, width);
  const std::size_t used = display_width(text);
  // One text of a megabyte must not make every line of a pipe as long.
  const std::size_t padded = std::min(width, std::max(used, kMostPadded));
  const std::string padding(padded - std::min(padded, used), ' ');
  if (column.right) return padding + out.paint(cell.style, text);
  return out.paint(cell.style, text) + (last ? "" : padding);
}

std::string metric_brief(const index::RunRow& row) {
  std::string text;
  std::size_t shown = 0;
  const auto add = [&](const index::RowMetric& metric) {
    text += (text.empty() ? "" : "  ") + printable(metric.name) + " " + base::format_number(metric.last);
    ++shown;
  };
  for (const index::RowMetric& metric : row.metrics) {
    if (metric.name == row.primary_metric) add(metric);
  }
  for (const index::RowMetric& metric : row.metrics) {
    if (shown < kMostMetrics && metric.name != row.primary_metric && !metric.name.starts_with("system/")) add(metric);
  }
  return text;
}

std::string parameters_brief(const Json& parameters) {
  std::string text;
  for (const auto& item : parameters.items()) {
    const Json& value = item.value();
    text += (text.empty() ? "" : " ") + item.key() + "=";
    if (value.is_number_float()) {
      text += base::format_number(value.get<double>());
    } else {
      text += value.is_string() ? value.get<std::string>() : base::dump_json(value);
    }
  }
  return printable(text);
}

std::string duration_text(const index::RunRow& row, base::WallTime now) {
  if (row.took) return base::format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(*row.took));
  if (!row.started) return {};
  if (row.ended) return span_text(*row.started, *row.ended);
  return format::is_terminal(row.state) ? std::string() : running_text(row.created, *row.started, now);
}

Style state_style(format::State state) {
  switch (state) {
    case format::State::succeeded:
      return Style::green;
    case format::State::failed:
    case format::State::lost:
    case format::State::timed_out:
      return Style::red;
    case format::State::canceled:
      return Style::yellow;
    default:
      return Style::blue;
  }
}

std::string plain_mark(const Stream& out, format::State state) {
  if (!out.utf8()) return {};
  if (state == format::State::succeeded) return "✓ ";
  return format::is_terminal(state) ? "✗ " : "● ";
}

std::string shown_time(const Context& context, base::WallTime time, base::WallTime now) {
  return context.out.is_terminal() && !context.utc ? relative_text(time, now) : time_text(context, time);
}

/// The text of a value asked for with --columns.
std::string value_text(const Context& context, const index::Field& field, const index::Value& value,
                       base::WallTime now) {
  if (std::holds_alternative<std::monostate>(value)) return "-";
  if (const auto* text = std::get_if<std::string>(&value)) return printable(*text);
  if (const auto* real = std::get_if<double>(&value))
    return context.out.is_terminal() ? base::format_number(*real) : exact_number(*real);
  const std::int64_t number = std::get<std::int64_t>(value);
  if (field.column != nullptr && field.column->kind == index::Kind::time) {
    return shown_time(context, base::WallTime(std::chrono::microseconds(number)), now);
  }
  if (field.column != nullptr && field.column->kind == index::Kind::duration) {
    return base::format_duration(std::chrono::milliseconds(number / 1000));
  }
  return std::to_string(number);
}

std::string field_title(const index::Field& field) {
  if (field.column != nullptr) return base::to_upper(field.column->name);
  std::string title = printable(field.name);
  if (field.source == index::Field::Source::metric && field.aspect != index::Aspect::last) {
    title += "." + std::string(index::aspect_sql(field.aspect));
  }
  return title;
}

bool is_number(const index::Field& field) {
  if (field.source == index::Field::Source::metric) return true;
  return field.column != nullptr &&
         (field.column->kind == index::Kind::number || field.column->kind == index::Kind::duration);
}

struct Table {
  std::vector<TableColumn> columns;
  std::vector<std::vector<TableCell>> rows;
};

Table chosen_columns(const Context& context, const index::RunPage& page, base::WallTime now) {
  Table table;
  int rank = 0;
  for (const index::Field& field : page.columns) {
    table.columns.push_back(
        {field_title(field), rank++, is_number(field) ? std::size_t{0} : std::size_t{12}, is_number(field)});
  }
  for (const index::RunRow& row : page.rows) {
    std::vector<TableCell> cells;
    for (std::size_t i = 0; i < page.columns.size(); ++i) {
      TableCell cell{value_text(context, page.columns[i], row.values[i], now)};
      if (page.columns[i].column != nullptr && page.columns[i].column->kind == index::Kind::state) {
        cell = {plain_mark(context.out, row.state) + cell.text, state_style(row.state)};
      }
      cells.push_back(std::move(cell));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

/// The state, and how old it is where it was heard from elsewhere.
std::string state_text(const Context& context, const archive::Store& store, const index::RunRow& row,
                       base::WallTime now) {
  std::string state = plain_mark(context.out, row.state) + std::string(format::to_string(row.state));
  if (row.target == "local") return state;
  const std::string contact = contact_text(store.run(row.id), row.state, now);
  return contact.empty() ? state : state + ", " + contact;
}

Table usual_columns(const Context& context, const archive::Store& store, const index::RunPage& page,
                    base::WallTime now) {
  Table table;
  table.columns = {{"NAME", 0, 0, false},        {"STATE", 0, 0, false},    {"CREATED", 1, 0, false},
                   {"DURATION", 3, 0, false},    {"METRICS", 2, 16, false}, {"TARGET", 4, 8, false},
                   {"PARAMETERS", 5, 16, false}, {"MESSAGE", 6, 20, false}};
  const bool all_local =
      std::all_of(page.rows.begin(), page.rows.end(), [](const auto& row) { return row.target == "local"; });
  for (const index::RunRow& row : page.rows) {
    std::string message =
        row.state == format::State::succeeded ? std::string() : base::split(row.message, '\n').front();
    if (message.empty() && row.target != "local" && awaits_launch(store.run(row.id), row.state))
      message = "trainctl attach " + row.name + " tries again, trainctl cancel " + row.name + " gives it up";
    table.rows.push_back({{printable(row.name), Style::bold},
                          {state_text(context, store, row, now), state_style(row.state)},
                          {shown_time(context, row.created, now)},
                          {duration_text(row, now)},
                          {metric_brief(row)},
                          {all_local ? std::string() : printable(row.target)},
                          {parameters_brief(row.parameters), Style::dim},
                          {printable(message), Style::dim}});
  }
  return table;
}

std::string csv_value(const index::Field& field, const index::Value& value) {
  if (std::holds_alternative<std::monostate>(value)) return {};
  if (const auto* text = std::get_if<std::string>(&value)) return csv_field(*text);
  if (const auto* real = std::get_if<double>(&value)) return exact_number(*real);
  const std::int64_t number = std::get<std::int64_t>(value);
  if (field.column != nullptr && field.column->kind == index::Kind::time) {
    return base::format_utc(base::WallTime(std::chrono::microseconds(number)));
  }
  if (field.column != nullptr && field.column->kind == index::Kind::duration) {
    return exact_number(static_cast<double>(number) / 1e6);
  }
  return std::to_string(number);
}

std::string usual_csv_header(const std::set<std::string>& parameters, const std::set<std::string>& metrics) {
  std::string text = "id,name,state,cause,exit_code,target,experiment,created,started,ended,attempts";
  for (const std::string& name : parameters) text += "," + csv_field("parameters." + name);
  for (const std::string& name : metrics) text += "," + csv_field("metrics." + name);
  return text + "\n";
}

std::string usual_csv(const index::RunPage& page) {
  std::set<std::string> parameters;
  std::set<std::string> metrics;
  for (const index::RunRow& row : page.rows) {
    for (const auto& item : row.parameters.items()) parameters.insert(item.key());
    for (const index::RowMetric& metric : row.metrics) metrics.insert(metric.name);
  }
  std::string text = usual_csv_header(parameters, metrics);
  for (const index::RunRow& row : page.rows) {
    const auto time = [](const std::optional<base::WallTime>& t) { return t ? base::format_utc(*t) : std::string(); };
    text += row.id + "," + csv_field(row.name) + "," + std::string(format::to_string(row.state)) + "," +
            (row.cause ? std::string(format::to_string(*row.cause)) : "") + "," +
            (row.exit_code ? std::to_string(*row.exit_code) : "") + "," + csv_field(row.target) + "," +
            csv_field(row.experiment) + "," + time(row.created) + "," + time(row.started) + "," + time(row.ended) +
            "," + std::to_string(row.attempts);
    for (const std::string& name : parameters) {
      const auto found = row.parameters.find(name);
      const bool there = found != row.parameters.end() && !found->is_null();
      text += "," + (there ? csv_field(found->is_string() ? found->get<std::string>() : base::dump_json(*found))
                           : std::string());
    }
    for (const std::string& name : metrics) {
      const auto found =
          std::find_if(row.metrics.begin(), row.metrics.end(), [&](const auto& m) { return m.name == name; });
      text += "," + (found == row.metrics.end() ? std::string() : exact_number(found->last));
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string table_text(const Stream& out, std::span<const TableColumn> columns,
                       std::span<const std::vector<TableCell>> rows, std::size_t width) {
  std::vector<std::size_t> widths(columns.size(), 0);
  std::vector<bool> shown(columns.size(), true);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    for (const auto& row : rows) widths[i] = std::max(widths[i], display_width(row[i].text));
    if (widths[i] == 0 && columns[i].rank > 0) shown[i] = false;
    widths[i] = std::max(widths[i], display_width(columns[i].title));
  }
  if (width > 0) shrink(columns, widths, shown, width);
  const std::size_t last =
      static_cast<std::size_t>(std::find(shown.rbegin(), shown.rend(), true).base() - shown.begin());
  std::string text;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      if (!shown[i]) continue;
      if (!line.empty()) line += std::string(kGap, ' ');
      line += cell_text(out, columns[i], cell_of(i), widths[i], i + 1 == last);
    }
    while (line.ends_with(' ')) line.pop_back();
    text += line + "\n";
  };
  add_line([&](std::size_t i) { return TableCell{columns[i].title, Style::dim}; });
  for (const auto& row : rows) add_line([&](std::size_t i) { return row[i]; });
  return text;
}

std::string run_table(const Context& context, const archive::Store& store, const index::RunPage& page,
                      base::WallTime now) {
  const Table table =
      page.columns.empty() ? usual_columns(context, store, page, now) : chosen_columns(context, page, now);
  const std::size_t width = context.out.is_terminal() ? static_cast<std::size_t>(std::max(context.out.width(), 20)) : 0;
  return table_text(context.out, table.columns, table.rows, width);
}

std::string run_csv(const index::RunPage& page, std::span<const std::string> titles) {
  if (page.columns.empty()) return usual_csv(page);
  std::string text;
  for (const std::string& title : titles) text += (text.empty() ? "" : ",") + csv_field(title);
  text += "\n";
  for (const index::RunRow& row : page.rows) {
    std::string line;
    for (std::size_t i = 0; i < page.columns.size(); ++i) {
      line += (i == 0 ? "" : ",") + csv_value(page.columns[i], row.values[i]);
    }
    text += line + "\n";
  }
  return text;
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + "\"";
}

std::string exact_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::array<char, 32> digits{};
  const auto [end, problem] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return problem == std::errc() ? std::string(digits.data(), end) : std::string();
}

}  // namespace trainctl::cli
