# SPDX-License-Identifier: Apache-2.0
# `cmake --install`, find_package(poolsim COMPONENTS ...), pkg-config, and a Debian package by `cpack -G DEB`.
include(CMakePackageConfigHelpers)

poolsim_install(poolsim_systemc systemc)
install(TARGETS poolsim poolsim-bench RUNTIME COMPONENT runtime)
install(DIRECTORY testbenches/scenarios mm/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/poolsim COMPONENT runtime)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime FILES_MATCHING PATTERN "*.md")
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
install(FILES testbenches/study/uplot/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME LICENSE.uPlot COMPONENT runtime)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/poolsim)
install(EXPORT poolsim-targets NAMESPACE poolsim:: DESTINATION ${package_dir} COMPONENT development)
configure_package_config_file(cmake/poolsim-config.cmake.in poolsim-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(poolsim-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/poolsim-config.cmake ${CMAKE_BINARY_DIR}/poolsim-config-version.cmake
        DESTINATION ${package_dir} COMPONENT development)
configure_file(cmake/poolsim.pc.in poolsim.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/poolsim.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

# The man page, the shells' completions and the schema for editors of campaign files come from the command itself.
set(manual ${CMAKE_BINARY_DIR}/manual)
file(MAKE_DIRECTORY ${manual})
add_custom_command(
  OUTPUT ${manual}/poolsim.1 ${manual}/poolsim.bash ${manual}/_poolsim ${manual}/poolsim.fish
         ${manual}/campaign.schema.json
  COMMAND poolsim manual man > ${manual}/poolsim.1
  COMMAND poolsim manual bash > ${manual}/poolsim.bash
  COMMAND poolsim manual zsh > ${manual}/_poolsim
  COMMAND poolsim manual fish > ${manual}/poolsim.fish
  COMMAND poolsim campaign schema > ${manual}/campaign.schema.json
  DEPENDS poolsim VERBATIM)
add_custom_target(poolsim_manual ALL DEPENDS ${manual}/poolsim.1)
install(FILES ${manual}/campaign.schema.json DESTINATION ${CMAKE_INSTALL_DATADIR}/poolsim COMPONENT runtime)
install(FILES ${manual}/poolsim.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT runtime)
install(FILES ${manual}/poolsim.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME poolsim
        COMPONENT runtime)
install(FILES ${manual}/_poolsim DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions COMPONENT runtime)
install(FILES ${manual}/poolsim.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d COMPONENT runtime)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME poolsim)
set(CPACK_PACKAGE_CONTACT "poolsim developers <poolsim@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION electronics)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libsystemc-dev, libfmt-dev, libspdlog-dev, libboost-context-dev, libxxhash-dev, zlib1g-dev, \
libyaml-cpp-dev, nlohmann-json3-dev")
include(CPack)

set(library_flags "")
if(POOLSIM_SANITIZE)
  set(library_flags -fsanitize=${POOLSIM_SANITIZE})
endif()
add_test(NAME library.installed
         COMMAND ${CMAKE_COMMAND} -DBUILD=${CMAKE_BINARY_DIR} -DSOURCE=${CMAKE_SOURCE_DIR} -DFLAGS=${library_flags}
                 -DEXAMPLE=${CMAKE_SOURCE_DIR}/testbenches/library -DSCRATCH=${CMAKE_BINARY_DIR}/installed
                 -P ${CMAKE_SOURCE_DIR}/cmake/TestInstalled.cmake)
set_tests_properties(library.installed PROPERTIES TIMEOUT 300)

# API pages; a warning of Doxygen is an error.
find_program(POOLSIM_DOXYGEN doxygen)
if(POOLSIM_DOXYGEN)
  configure_file(docs/Doxyfile.in Doxyfile @ONLY)
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/api)
  add_custom_target(api COMMAND ${POOLSIM_DOXYGEN} ${CMAKE_BINARY_DIR}/Doxyfile WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_test(NAME docs.api COMMAND ${CMAKE_COMMAND} -E env ${POOLSIM_DOXYGEN} ${CMAKE_BINARY_DIR}/Doxyfile
           WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endif()
