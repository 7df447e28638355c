# SPDX-License-Identifier: Apache-2.0
# Everything comes from Debian 12 packages (scripts/lib/packages.txt). What an installed poolsim needs again stands in
# cmake/poolsim-config.cmake.in too.

find_package(PkgConfig REQUIRED)
pkg_check_modules(SYSTEMC_PC REQUIRED IMPORTED_TARGET systemc)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(SQLite3 REQUIRED)
pkg_check_modules(MUPARSER REQUIRED IMPORTED_TARGET muparser)
pkg_check_modules(PCAP REQUIRED IMPORTED_TARGET libpcap)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(rapidcheck REQUIRED)
find_package(Boost 1.74 REQUIRED COMPONENTS context)
find_path(VALIJSON_INCLUDE_DIR valijson/validator.hpp REQUIRED)

# Debian's SystemC 2.3.4 exports only its C++17 API symbol: with C++20 the version check must be told so,
# once, for every user of the target.
add_library(poolsim_systemc INTERFACE)
target_link_libraries(poolsim_systemc INTERFACE PkgConfig::SYSTEMC_PC)
target_compile_definitions(poolsim_systemc INTERFACE SC_CPLUSPLUS=201703L SC_INCLUDE_FX=0
                           SC_DISABLE_API_VERSION_CHECK=0)
target_compile_options(poolsim_systemc INTERFACE -Wno-overloaded-virtual -Wno-unused-parameter)

add_compile_options(-Wall -Wextra)

# scripts/fastest.sh builds twice in one directory: `generate` counts what a run executes, into a file beside each object;
# `use` compiles for what was counted and links in one piece; both for x86-64-v3. Nothing may change a result: a
# multiplication and an addition stay two roundings.
set(POOLSIM_PROFILE "" CACHE STRING "Profile-guided build: generate, use or nothing")
if(POOLSIM_PROFILE STREQUAL "generate")
  add_compile_options(-fprofile-generate -fprofile-update=single)
  add_link_options(-fprofile-generate)
elseif(POOLSIM_PROFILE STREQUAL "use")
  add_compile_options(-fprofile-use -fprofile-partial-training -Wno-missing-profile -Wno-coverage-mismatch)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
elseif(POOLSIM_PROFILE)
  message(FATAL_ERROR "POOLSIM_PROFILE is '${POOLSIM_PROFILE}'; it may be generate, use or nothing")
endif()
if(POOLSIM_PROFILE)
  add_compile_options(-O3 -march=x86-64-v3 -ffp-contract=off)
endif()
add_compile_options($<$<CONFIG:Debug>:-fno-omit-frame-pointer>)  # for the sanitizers' stacks

set(POOLSIM_TEST_TIMEOUT 120)  # seconds; a test takes less than one
set(POOLSIM_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
if(POOLSIM_SANITIZE)
  add_compile_options(-fsanitize=${POOLSIM_SANITIZE} -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=${POOLSIM_SANITIZE})
  set(POOLSIM_TEST_TIMEOUT 600)
endif()

find_program(POOLSIM_CCACHE ccache)
if(POOLSIM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # gcc needs -fpch-preprocess, and ccache this sloppiness, for precompiled headers to hit the cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} ${POOLSIM_CCACHE})
  add_compile_options(-fpch-preprocess)
endif()
