// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_environment.hpp"

#include <cctype>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "cli/output.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/request.hpp"
#include "host/environment/requirements.hpp"

namespace trainctl::cli {
namespace {

/// The default one first, as in a run.
constexpr std::string_view kPythons =
    "python3 python3.15 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3.7 python3.6";
/// Whatever runs finds the programs of its environment first, as it does in a run.
constexpr std::string_view kOnPath = "export PATH=\"${python%/*}:$PATH\"\n";
constexpr std::string_view kOwnPython = "python=\"$work/env/bin/python\"\n";

/// A word in which the shell fills in ${NAME} and nothing else.
std::string with_variables(std::string_view text) {
  std::string word = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool variable = text.substr(i).starts_with("${") && i + 2 < text.size() &&
                          (std::isalpha(static_cast<unsigned char>(text[i + 2])) != 0 || text[i + 2] == '_');
    if (!variable && std::string_view("\"\\`$").find(text[i]) != std::string_view::npos) word += '\\';
    word += text[i];
  }
  return word + "\"";
}

std::string venv_lines(const std::string& asked) {
  const auto spec = host::PythonVersionSpec::parse(asked);
  if (!spec || spec->any()) return "python3 -m venv \"$work/env\"\n";
  const std::string test = "import sys; v = sys.version_info; sys.exit(not (" + spec->expression() + "))";
  return "python=\nfor candidate in " + std::string(kPythons) + "; do\n  \"$candidate\" -c " + base::shell_quote(test) +
         " 2>/dev/null || continue\n  python=$candidate\n  break\ndone\n[ -n \"$python\" ] || { echo " +
         base::shell_quote("no Python on PATH fits " + asked) + " >&2; exit 1; }\n\"$python\" -m venv \"$work/env\"\n";
}

std::string with_uv(const host::EnvironmentRequest& request) {
  std::string text = "# torch_backend: only uv chooses the index of PyTorch by it\nuv pip install --python ";
  text.append("\"$work/env/bin/python\" --torch-backend ").append(base::shell_quote(request.torch_backend));
  for (const std::string& url : request.index_urls) text += " --index " + with_variables(url);
  if (!request.build_constraints.empty()) text += " --build-constraint \"$work/build-constraints.txt\"";
  return text;
}

std::string with_pip(const host::EnvironmentRequest& request) {
  std::string text;
  if (!request.index_urls.empty())
    text += "# pip takes the best version of all indexes, trainctl (uv) that of the first one which has the package\n";
  if (!request.build_constraints.empty()) {
    text +=
        "# pip has no constraints for builds alone: these hold what it installs, too\n"
        "PIP_CONSTRAINT=\"$work/build-constraints.txt\" ";
  }
  text += "\"$work/env/bin/pip\" install";
  for (const std::string& url : request.index_urls) text += " --extra-index-url " + with_variables(url);
  return text;
}

std::string install_lines(const host::EnvironmentRequest& request) {
  const std::string wanted = host::wanted_text(request);
  if (host::count_requirements(wanted) == 0) return {};
  std::string text = file_lines("requirements.txt", wanted);
  if (!request.constraints.empty()) text += file_lines("constraints.txt", request.constraints);
  if (!request.build_constraints.empty())
    text += file_lines("build-constraints.txt", base::join(request.build_constraints, "\n"));
  text += request.torch_backend.empty() ? with_pip(request) : with_uv(request);
  text += " -r \"$work/requirements.txt\"";
  if (!request.constraints.empty()) text += " -c \"$work/constraints.txt\"";
  return text + "\n";
}

std::string project_lines(const host::EnvironmentRequest& request) {
  std::string text = "uv sync --frozen";
  for (const std::string& group : request.groups) text += " --group " + base::shell_quote(group);
  for (const std::string& extra : request.extras) text += " --extra " + base::shell_quote(extra);
  return text + "\npython=\"$PWD/.venv/bin/python\"\n" + std::string(kOnPath);
}

std::string conda_lines(const host::EnvironmentRequest& request) {
  return file_lines("environment.yml", request.conda) +
         "conda env create -p \"$work/env\" -f \"$work/environment.yml\"\n" + std::string(kOwnPython) +
         std::string(kOnPath);
}

}  // namespace

std::string file_lines(std::string_view name, std::string_view text) {
  std::string end = "END_OF_FILE";
  while (text.find(end) != std::string_view::npos) end += '_';
  std::string lines = "cat > \"$work/" + std::string(name) + "\" <<'" + end + "'\n" + std::string(text);
  if (!lines.ends_with('\n')) lines += '\n';
  return lines + end + "\n";
}

std::string environment_lines(const host::ResolvedRequest& environment) {
  const host::EnvironmentRequest& request = environment.request;
  std::string text = "# environment: " + printable(environment.description) + "\n";
  for (const std::string& line : request.setup) text += line + "\n";
  switch (request.kind) {
    case host::EnvironmentKind::interpreter:
    case host::EnvironmentKind::system:
      return text + "python=" + base::shell_quote(request.path.empty() ? "python3" : request.path) + "\n";
    case host::EnvironmentKind::venv:
      return text + ". " + base::shell_quote(request.path + "/bin/activate") + "\npython=python\n";
    case host::EnvironmentKind::project:
      return text + project_lines(request);
    case host::EnvironmentKind::conda:
      return text + conda_lines(request);
    case host::EnvironmentKind::packages:
      break;
  }
  return text + venv_lines(request.python) + install_lines(request) + std::string(kOwnPython) + std::string(kOnPath);
}

}  // namespace trainctl::cli
