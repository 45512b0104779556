# SPDX-License-Identifier: Apache-2.0
# `cpack --config build/release/CPackConfig.cmake` makes a .deb and a .tar.gz of the two binaries, the completions, the manual
# pages and the documents. Completions and pages come from the binary itself (`trainctl completion SHELL`, `trainctl help --man`).
include(GNUInstallDirs)

foreach(entry "bash|trainctl|share/bash-completion/completions" "zsh|_trainctl|share/zsh/site-functions" "fish|trainctl.fish|share/fish/vendor_completions.d")
  string(REPLACE "|" ";" entry "${entry}")
  list(GET entry 0 shell)
  list(GET entry 1 name)
  list(GET entry 2 folder)
  install(CODE "
    set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${folder}\")
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND \"$<TARGET_FILE:trainctl>\" completion ${shell} OUTPUT_FILE \"\${folder}/${name}\" RESULT_VARIABLE failed)
    if(failed)
      file(REMOVE \"\${folder}/${name}\")
      message(WARNING \"trainctl completion ${shell} failed: ${name} is not installed\")
    endif()")
endforeach()
# Like the completions, the manual pages come from the binary.
install(CODE "
  execute_process(COMMAND \"${CMAKE_SOURCE_DIR}/packaging/make-pages\" \"$<TARGET_FILE:trainctl>\" \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man1\" RESULT_VARIABLE failed)
  if(failed)
    message(WARNING \"packaging/make-pages failed: there are no manual pages\")
  endif()")
install(FILES "${CMAKE_SOURCE_DIR}/README.md" "${CMAKE_SOURCE_DIR}/CHANGELOG.md" DESTINATION "${CMAKE_INSTALL_DOCDIR}" OPTIONAL)
install(DIRECTORY "${CMAKE_SOURCE_DIR}/docs" DESTINATION "${CMAKE_INSTALL_DOCDIR}" FILES_MATCHING PATTERN "*.md")
install(DIRECTORY "${CMAKE_SOURCE_DIR}/schemas/" DESTINATION share/trainctl/schemas OPTIONAL FILES_MATCHING PATTERN "*.schema.json")
install(FILES "${CMAKE_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" RENAME copyright)

set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME trainctl)
set(CPACK_PACKAGE_VENDOR "The trainctl authors")
set(CPACK_PACKAGE_CONTACT "The trainctl authors <trainctl@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Training orchestrator for the command line")
set(CPACK_RESOURCE_FILE_LICENSE "${CMAKE_SOURCE_DIR}/LICENSE")
set(CPACK_PACKAGE_FILE_NAME "trainctl-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX "/usr")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "git, python3, python3-venv")
include(CPack)
