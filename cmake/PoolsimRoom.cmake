# SPDX-License-Identifier: Apache-2.0
# poolsim_room(NAME [DEPENDS room...] [LIBRARIES target...] [SUBDIRS dir...])
#   One static library `poolsim_NAME` (alias poolsim::NAME) from every .cpp of the folder (and SUBDIRS).
# poolsim_test(NAME LIBRARIES ...)
#   One test binary `test_NAME` from testbenches/tests/NAME/*.cpp; each TEST runs in its own process.

include(GNUInstallDirs)

# Headers are found from the root of the tree, here and where it is installed.
function(poolsim_includes target scope)
  target_include_directories(${target} ${scope} $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/poolsim>)
endfunction()

# The target is installed and exported as poolsim::NAME.
function(poolsim_install target name)
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  install(TARGETS ${target} EXPORT poolsim-targets ARCHIVE COMPONENT development)
endfunction()

function(poolsim_room name)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;LIBRARIES;SUBDIRS" ${ARGN})
  set(patterns *.cpp)
  foreach(dir ${ROOM_SUBDIRS})
    list(APPEND patterns ${dir}/*.cpp)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  list(TRANSFORM ROOM_DEPENDS PREPEND poolsim_ OUTPUT_VARIABLE deps)
  if(sources)
    add_library(poolsim_${name} STATIC ${sources})
    set(scope PUBLIC)
    if(name STREQUAL "sim")
      target_precompile_headers(poolsim_sim PRIVATE ${CMAKE_SOURCE_DIR}/sim/pch.h)
    else()
      target_precompile_headers(poolsim_${name} REUSE_FROM poolsim_sim)
    endif()
  else()
    add_library(poolsim_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  poolsim_includes(poolsim_${name} ${scope})
  target_link_libraries(poolsim_${name} ${scope} ${deps} ${ROOM_LIBRARIES})
  # What users call poolsim::pagepool is the header-only pool for real threads (pagepool/CMakeLists.txt).
  set(exported ${name})
  if(name STREQUAL "pagepool")
    set(exported pagepool_sim)
  endif()
  add_library(poolsim::${exported} ALIAS poolsim_${name})
  poolsim_install(poolsim_${name} ${exported})
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/poolsim
          COMPONENT development FILES_MATCHING PATTERN "*.h" PATTERN "pch.h" EXCLUDE)
endfunction()

include(GoogleTest)

# main() of all tests, and the precompiled header they share. What is tested is optimised, the tests are not: that
# halves the time of a clean build.
set(poolsim_test_options -O0)
add_library(poolsim_test_main STATIC ${CMAKE_SOURCE_DIR}/testbenches/tests/test_main.cpp)
target_include_directories(poolsim_test_main PUBLIC ${CMAKE_SOURCE_DIR})
target_link_libraries(poolsim_test_main PUBLIC poolsim_systemc fmt::fmt GTest::gtest GTest::gmock rapidcheck)
target_compile_options(poolsim_test_main PRIVATE ${poolsim_test_options})
target_precompile_headers(poolsim_test_main PRIVATE ${CMAKE_SOURCE_DIR}/sim/pch.h <gtest/gtest.h> <gmock/gmock.h>)

function(poolsim_test name)
  cmake_parse_arguments(TEST "" "" "LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/testbenches/tests/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  target_link_libraries(test_${name} PRIVATE ${TEST_LIBRARIES} poolsim_test_main)
  target_precompile_headers(test_${name} REUSE_FROM poolsim_test_main)
  target_compile_options(test_${name} PRIVATE ${poolsim_test_options})
  target_compile_definitions(test_${name} PRIVATE POOLSIM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(test_${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${POOLSIM_TEST_TIMEOUT})
endfunction()
