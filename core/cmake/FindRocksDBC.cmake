# RocksDB through its C API. Defines RocksDB::C.
find_path(ROCKSDB_INCLUDE_DIR rocksdb/c.h)
find_library(ROCKSDB_LIBRARY rocksdb)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RocksDBC
  REQUIRED_VARS ROCKSDB_LIBRARY ROCKSDB_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install librocksdb-dev")
mark_as_advanced(ROCKSDB_INCLUDE_DIR ROCKSDB_LIBRARY)

if(RocksDBC_FOUND AND NOT TARGET RocksDB::C)
  add_library(RocksDB::C UNKNOWN IMPORTED)
  set_target_properties(RocksDB::C PROPERTIES
    IMPORTED_LOCATION "${ROCKSDB_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${ROCKSDB_INCLUDE_DIR}")
endif()
