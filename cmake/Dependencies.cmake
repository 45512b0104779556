# SPDX-License-Identifier: Apache-2.0
# Installed packages first (Debian 12's versions are the floor); FetchContent with a pinned hash for people elsewhere.
include(FetchContent)
if(TRAINCTL_DEPS STREQUAL "FETCH")
  set(FETCHCONTENT_TRY_FIND_PACKAGE_MODE NEVER)
elseif(TRAINCTL_DEPS STREQUAL "SYSTEM")
  set(FETCHCONTENT_FULLY_DISCONNECTED ON)
endif()

FetchContent_Declare(nlohmann_json
  URL https://github.com/nlohmann/json/releases/download/v3.11.2/json.tar.xz
  URL_HASH SHA256=8c4b26bf4b422252e13f332bc5e388ec0ab5c3443d24399acb675e68278d341f
  SYSTEM FIND_PACKAGE_ARGS 3.11)
FetchContent_Declare(tl-expected
  URL https://github.com/TartanLlama/expected/archive/refs/tags/v1.0.0.tar.gz
  URL_HASH SHA256=8f5124085a124113e75e3890b4e923e3a4de5b26a973b891b3deb40e19c03cee
  SYSTEM FIND_PACKAGE_ARGS NAMES tl-expected)
set(TRAINCTL_FETCHED nlohmann_json tl-expected)
if(NOT TRAINCTL_RUNNER_ONLY)
  FetchContent_Declare(CLI11
    URL https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.1.2.tar.gz
    URL_HASH SHA256=26291377e892ba0e5b4972cdfd4a2ab3bf53af8dac1f4ea8fe0d1376b625c8cb
    SYSTEM FIND_PACKAGE_ARGS 2.1)
  list(APPEND TRAINCTL_FETCHED CLI11)
endif()
if(TRAINCTL_TESTS)
  FetchContent_Declare(Catch2
    URL https://github.com/catchorg/Catch2/archive/refs/tags/v2.13.10.tar.gz
    URL_HASH SHA256=d54a712b7b1d7708bc7a819a8e6e47b2fde9536f487b89ccbca295072a7d9943
    SYSTEM FIND_PACKAGE_ARGS 2.13)
  list(APPEND TRAINCTL_FETCHED Catch2)
endif()
FetchContent_MakeAvailable(${TRAINCTL_FETCHED})

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# Everything but libc is linked statically: shared, these cost 6 ms at each start (measured), static 1 ms. They come from the
# system alone, see docs/decisions/0017-four-libraries-from-the-system.md.
function(trainctl_static_library name archive header hint)
  find_library(${name}_ARCHIVE NAMES ${archive})
  find_path(${name}_INCLUDE NAMES ${header})
  if(NOT ${name}_ARCHIVE OR NOT ${name}_INCLUDE)
    message(FATAL_ERROR "${archive} or ${header} was not found. Debian and Ubuntu: apt-get install ${hint}. Elsewhere: the "
      "library's development package and, where it is apart, the one with its static library; one installed by hand is "
      "found through CMAKE_PREFIX_PATH.")
  endif()
  add_library(trainctl_dep_${name} INTERFACE)
  target_link_libraries(trainctl_dep_${name} INTERFACE "${${name}_ARCHIVE}")
  target_include_directories(trainctl_dep_${name} SYSTEM INTERFACE "${${name}_INCLUDE}")
endfunction()
trainctl_static_library(crypto libcrypto.a openssl/sha.h libssl-dev)
trainctl_static_library(zstd libzstd.a zstd.h libzstd-dev)
trainctl_static_library(pcre2 libpcre2-8.a pcre2.h libpcre2-dev)
target_compile_definitions(trainctl_dep_pcre2 INTERFACE PCRE2_CODE_UNIT_WIDTH=8)
if(TRAINCTL_RUNNER_ONLY)
  return()
endif()
trainctl_static_library(sqlite libsqlite3.a sqlite3.h libsqlite3-dev)
target_link_libraries(trainctl_dep_sqlite INTERFACE Threads::Threads m)

# Only `trainctl import` reads YAML. Debian's package has the archive beside the shared library.
find_library(yaml_ARCHIVE NAMES libyaml-cpp.a)
find_path(yaml_INCLUDE NAMES yaml-cpp/yaml.h)
add_library(trainctl_dep_yaml INTERFACE)
if(yaml_ARCHIVE AND yaml_INCLUDE AND NOT TRAINCTL_DEPS STREQUAL "FETCH")
  target_link_libraries(trainctl_dep_yaml INTERFACE "${yaml_ARCHIVE}")
  target_include_directories(trainctl_dep_yaml SYSTEM INTERFACE "${yaml_INCLUDE}")
elseif(TRAINCTL_DEPS STREQUAL "SYSTEM")
  message(FATAL_ERROR "libyaml-cpp.a or yaml-cpp/yaml.h was not found: apt-get install libyaml-cpp-dev")
else()
  set(YAML_CPP_BUILD_TOOLS OFF)
  set(YAML_CPP_BUILD_CONTRIB OFF)
  set(YAML_CPP_INSTALL OFF)
  set(YAML_BUILD_SHARED_LIBS OFF)
  FetchContent_Declare(yaml-cpp
    URL https://github.com/jbeder/yaml-cpp/archive/refs/tags/yaml-cpp-0.7.0.tar.gz
    URL_HASH SHA256=43e6a9fcb146ad871515f0d0873947e5d497a1c9c60c58cb102a97b47208b7c3
    SYSTEM)
  FetchContent_MakeAvailable(yaml-cpp)
  target_link_libraries(trainctl_dep_yaml INTERFACE yaml-cpp)
endif()
