// SPDX-License-Identifier: Apache-2.0
#include "host/waiter/exec_rank.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "base/text.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  result.reserve(words.size() + 1);
  // execve takes char* const* for historical reasons and changes nothing.
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

/// "#!/usr/bin/env python3" → "/usr/bin/env"; empty when the file is no script.
std::string interpreter_of(const std::string& path) {
  const auto head = base::read_range(path, 0, 256);
  if (!head || !head->starts_with("#!")) return {};
  std::string_view line = std::string_view(*head).substr(2, head->find('\n') - 2);
  line = line.substr(std::min(line.find_first_not_of(" \t"), line.size()));
  return std::string(line.substr(0, line.find_first_of(" \t")));
}

ExecError missing_interpreter(const std::string& path, std::string interpreter) {
  if (interpreter.ends_with('\r')) {
    interpreter.pop_back();
    return {126, path + " has Windows line endings, so its interpreter '" + interpreter + "\\r' does not exist"};
  }
  if (interpreter.empty()) return {126, path + " needs a program loader that does not exist on this machine"};
  return {126, path + ": its interpreter " + interpreter + " does not exist"};
}

ExecError explain(const std::string& path, int problem) {
  struct stat status{};
  const bool there = ::stat(path.c_str(), &status) == 0;
  if (there && S_ISDIR(status.st_mode)) return {126, path + " is a directory"};
  switch (problem) {
    case ENOENT:
    case ENOTDIR:
      if (there) return missing_interpreter(path, interpreter_of(path));
      return {127, path + " does not exist"};
    case EACCES:
      if (there && (status.st_mode & 0111U) == 0) return {126, path + " is not executable (chmod +x)"};
      return {126, path + " may not be executed: " + errno_text(problem)};
    case ENOEXEC:
      return {126, path + " is neither a program of this machine nor a script with a #! line"};
    case E2BIG:
      return {126, "the arguments and environment variables are too long for " + path};
    default:
      return {126, path + " could not be executed: " + errno_text(problem)};
  }
}

}  // namespace

ExecError exec_program(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                       const std::string& search_path) {
  if (argv.empty() || argv[0].empty()) return {127, "the command is empty"};
  const std::vector<char*> arguments = pointers(argv);
  const std::vector<char*> variables = pointers(environment);
  if (argv[0].find('/') != std::string::npos) {
    ::execve(argv[0].c_str(), arguments.data(), variables.data());
    return explain(argv[0], errno);
  }
  ExecError refused;
  for (const std::string& folder : base::split(search_path, ':')) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + argv[0];
    ::execve(candidate.c_str(), arguments.data(), variables.data());
    const int problem = errno;
    if (problem == ENOENT || problem == ENOTDIR) {
      if (!base::exists(candidate)) continue;
    } else if (problem != EACCES) {
      return explain(candidate, problem);
    }
    if (refused.message.empty()) refused = explain(candidate, problem);
  }
  if (!refused.message.empty()) return refused;
  return {127, "no program named " + argv[0] + " on the PATH of the run"};
}

}  // namespace trainctl::host
