# SPDX-License-Identifier: Apache-2.0
file(READ "${INPUT}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
file(MAKE_DIRECTORY "${DIR}")
file(WRITE "${DIR}/${NAME}.hpp" "// Generated.\n#pragma once\n#include <string_view>\nnamespace trainctl::embedded {\nextern const std::string_view ${NAME};\n}\n")
file(WRITE "${DIR}/${NAME}.cpp" "// Generated.\n#include <trainctl_embedded/${NAME}.hpp>\nnamespace trainctl::embedded {\nnamespace {\nconstexpr char kBytes[] = {${bytes}'\\0'};\n}\nextern const std::string_view ${NAME};\nconst std::string_view ${NAME}(kBytes, sizeof(kBytes) - 1);\n}\n")
