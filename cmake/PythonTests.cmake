# SPDX-License-Identifier: Apache-2.0
# Every tests/e2e/test_*.py and tests/python/test_*.py is one ctest entry ("e2e: logs"), run by pytest. A file may say in a
# comment of its own how it wants to be run:
#   # ctest: serial          nothing else runs at the same time (it measures, or fills something that all share)
#   # ctest: timeout 1200    seconds; the default is 600
file(GLOB python_tests CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/e2e/test_*.py" "${CMAKE_SOURCE_DIR}/tests/python/test_*.py")
foreach(file IN LISTS python_tests)
  get_filename_component(name "${file}" NAME_WE)
  string(REGEX REPLACE "^test_" "" name "${name}")
  get_filename_component(kind "${file}" DIRECTORY)
  get_filename_component(kind "${kind}" NAME)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  file(STRINGS "${file}" hints REGEX "^# ctest: ")
  set(timeout 600)
  set(serial OFF)
  foreach(hint IN LISTS hints)
    if(hint MATCHES "timeout ([0-9]+)")
      set(timeout "${CMAKE_MATCH_1}")
    endif()
    if(hint MATCHES "serial")
      set(serial ON)
    endif()
  endforeach()
  add_test(NAME "${kind}: ${name}" COMMAND "${CMAKE_SOURCE_DIR}/scripts/run-pytest" "${file}")
  set_tests_properties("${kind}: ${name}" PROPERTIES
    ENVIRONMENT "TRAINCTL_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" LABELS python TIMEOUT ${timeout} RUN_SERIAL ${serial})
endforeach()
