# llhttp as Debian ships it: node-llhttp holds the generated C files, no library. They are compiled here.
# Defines Llhttp::llhttp.
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH)
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Llhttp
  REQUIRED_VARS LLHTTP_SOURCE_DIR LLHTTP_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install node-llhttp")
mark_as_advanced(LLHTTP_INCLUDE_DIR LLHTTP_SOURCE_DIR)

if(Llhttp_FOUND AND NOT TARGET Llhttp::llhttp)
  add_library(llhttp STATIC
    "${LLHTTP_SOURCE_DIR}/api.c" "${LLHTTP_SOURCE_DIR}/http.c" "${LLHTTP_SOURCE_DIR}/llhttp.c")
  # Generated code: its warnings are not ours to mend.
  target_compile_options(llhttp PRIVATE -w)
  target_include_directories(llhttp SYSTEM PUBLIC "${LLHTTP_INCLUDE_DIR}")
  add_library(Llhttp::llhttp ALIAS llhttp)
endif()
