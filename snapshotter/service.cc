#include "snapshotter/service.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <future>
#include <thread>

#include "api/unix_socket.h"
#include "snapshots.grpc.pb.h"

namespace dedup {
namespace {

namespace wire = containerd::services::snapshots::v1;
using google::protobuf::Empty;
using grpc::ServerContext;
using grpc::Status;
using grpc::StatusCode;

constexpr size_t kListInfos = 100;
constexpr size_t kListBytes = 1 << 20;  // well below the 4 MiB a gRPC client takes by default

StatusCode status_code(const Error& error) {
  switch (error.code) {
    case Errc::kNotFound:
      return StatusCode::NOT_FOUND;
    case Errc::kExists:
      return StatusCode::ALREADY_EXISTS;
    case Errc::kInvalid:
      return is_precondition(error) ? StatusCode::FAILED_PRECONDITION
                                    : StatusCode::INVALID_ARGUMENT;
    case Errc::kDenied:
      return StatusCode::PERMISSION_DENIED;
    case Errc::kUnavailable:
    case Errc::kCancelled:
      return StatusCode::UNAVAILABLE;
    case Errc::kNoSpace:
      return StatusCode::RESOURCE_EXHAUSTED;
    case Errc::kUnsupported:
      return StatusCode::UNIMPLEMENTED;
    case Errc::kCorruption:
      return StatusCode::DATA_LOSS;
    case Errc::kIo:
      return StatusCode::INTERNAL;
  }
  return StatusCode::UNKNOWN;
}

Labels read_labels(const google::protobuf::Map<std::string, std::string>& labels) {
  return {labels.begin(), labels.end()};
}

void write_time(google::protobuf::Timestamp& time, int64_t ns) {
  constexpr int64_t kNsPerSecond = 1'000'000'000;
  time.set_seconds(ns / kNsPerSecond);
  time.set_nanos(static_cast<int32_t>(ns % kNsPerSecond));
}

void write_info(wire::Info& message, const SnapshotInfo& info) {
  message.set_name(info.name);
  message.set_parent(info.parent);
  message.set_kind(static_cast<wire::Kind>(info.kind));
  write_time(*message.mutable_created_at(), info.created_ns);
  write_time(*message.mutable_updated_at(), info.updated_ns);
  message.mutable_labels()->insert(info.labels.begin(), info.labels.end());
}

template <typename Response>
void write_mounts(Response& response, const std::vector<Mount>& mounts) {
  for (const Mount& mount : mounts) {
    auto& message = *response.add_mounts();
    message.set_type(mount.type);
    message.set_source(mount.source);
    for (const std::string& option : mount.options) message.add_options(option);
  }
}

class SnapshotService final : public wire::Snapshots::Service {
 public:
  SnapshotService(Snapshotter& snapshotter, std::function<Result<void>()> cleanup, Log& log)
      : x_snapshotter(snapshotter), x_cleanup(std::move(cleanup)), x_log(log) {}

  Status Prepare(ServerContext*, const wire::PrepareSnapshotRequest* request,
                 wire::PrepareSnapshotResponse* response) override {
    const auto mounts =
        x_snapshotter.prepare(request->key(), request->parent(), read_labels(request->labels()));
    if (mounts.ok()) write_mounts(*response, *mounts);
    return answer("Prepare", request->key(), mounts);
  }

  Status View(ServerContext*, const wire::ViewSnapshotRequest* request,
              wire::ViewSnapshotResponse* response) override {
    const auto mounts =
        x_snapshotter.view(request->key(), request->parent(), read_labels(request->labels()));
    if (mounts.ok()) write_mounts(*response, *mounts);
    return answer("View", request->key(), mounts);
  }

  Status Mounts(ServerContext*, const wire::MountsRequest* request,
                wire::MountsResponse* response) override {
    const auto mounts = x_snapshotter.mounts(request->key());
    if (mounts.ok()) write_mounts(*response, *mounts);
    return answer("Mounts", request->key(), mounts);
  }

  Status Commit(ServerContext*, const wire::CommitSnapshotRequest* request, Empty*) override {
    return answer("Commit", request->key(),
                  x_snapshotter.commit(request->name(), request->key(),
                                       read_labels(request->labels()), request->parent()));
  }

  Status Remove(ServerContext*, const wire::RemoveSnapshotRequest* request, Empty*) override {
    return answer("Remove", request->key(), x_snapshotter.remove(request->key()));
  }

  Status Stat(ServerContext*, const wire::StatSnapshotRequest* request,
              wire::StatSnapshotResponse* response) override {
    const auto info = x_snapshotter.stat(request->key());
    if (info.ok()) write_info(*response->mutable_info(), *info);
    return answer("Stat", request->key(), info);
  }

  Status Update(ServerContext*, const wire::UpdateSnapshotRequest* request,
                wire::UpdateSnapshotResponse* response) override {
    const auto& paths = request->update_mask().paths();
    const std::vector<std::string> fields(paths.begin(), paths.end());
    const auto info =
        x_snapshotter.update(request->info().name(), read_labels(request->info().labels()), fields);
    if (info.ok()) write_info(*response->mutable_info(), *info);
    return answer("Update", request->info().name(), info);
  }

  Status List(ServerContext*, const wire::ListSnapshotsRequest* request,
              grpc::ServerWriter<wire::ListSnapshotsResponse>* writer) override {
    std::vector<SnapshotFilter> filters;
    for (const std::string& text : request->filters()) {
      auto filter = SnapshotFilter::parse(text);
      if (!filter.ok()) return answer("List", text, filter);
      filters.push_back(std::move(*filter));
    }
    const auto infos = x_snapshotter.list(filters);
    if (infos.ok()) write_list(*infos, *writer);
    return answer("List", "", infos);
  }

  Status Usage(ServerContext*, const wire::UsageRequest* request,
               wire::UsageResponse* response) override {
    const auto usage = x_snapshotter.usage(request->key());
    if (usage.ok()) {
      response->set_size(usage->bytes);
      response->set_inodes(usage->inodes);
    }
    return answer("Usage", request->key(), usage);
  }

  Status Cleanup(ServerContext*, const wire::CleanupRequest*, Empty*) override {
    return answer("Cleanup", "", x_cleanup());
  }

 private:
  static void write_list(const std::vector<SnapshotInfo>& infos,
                         grpc::ServerWriter<wire::ListSnapshotsResponse>& writer) {
    wire::ListSnapshotsResponse block;
    size_t bytes = 0;
    for (const SnapshotInfo& info : infos) {
      write_info(*block.add_info(), info);
      bytes += block.info(block.info_size() - 1).ByteSizeLong();
      if (static_cast<size_t>(block.info_size()) < kListInfos && bytes < kListBytes) continue;
      if (!writer.Write(block)) return;
      block.Clear();
      bytes = 0;
    }
    if (block.info_size() > 0) writer.Write(block);
  }

  template <typename T>
  Status answer(const char* call, const std::string& key, const Result<T>& outcome) {
    if (outcome.ok()) {
      x_log.debug("call", {{"call", call}, {"key", key}});
      return Status::OK;
    }
    const Error& error = outcome.error();
    const StatusCode code = status_code(error);
    // Everything else is an answer containerd works with.
    if (code == StatusCode::INTERNAL || code == StatusCode::UNAVAILABLE ||
        code == StatusCode::RESOURCE_EXHAUSTED || code == StatusCode::DATA_LOSS) {
      x_log.error("call failed", {{"call", call}, {"key", key}, {"error", error}});
    } else {
      x_log.debug("call refused", {{"call", call}, {"key", key}, {"error", error}});
    }
    return {code, std::string(to_string(error.code)) + ": " + error.to_string()};
  }

  Snapshotter& x_snapshotter;
  std::function<Result<void>()> x_cleanup;
  Log& x_log;
};

}  // namespace

struct SnapshotServer::Grpc {
  Grpc(Snapshotter& snapshotter, std::function<Result<void>()> cleanup, Log& log)
      : service(snapshotter, std::move(cleanup), log) {}

  SnapshotService service;
  std::unique_ptr<grpc::Server> server;
};

SnapshotServer::SnapshotServer() = default;
SnapshotServer::~SnapshotServer() = default;

Result<std::unique_ptr<SnapshotServer>> SnapshotServer::start(const std::string& address,
                                                              Snapshotter& snapshotter,
                                                              std::function<Result<void>()> cleanup,
                                                              Log& log) {
  // gRPC would replace the socket of a live server.
  if (connect_unix(address).ok()) {
    return make_error(Errc::kExists, "another process answers on " + address);
  }
  std::unique_ptr<SnapshotServer> result(new SnapshotServer);
  result->x_grpc = std::make_unique<Grpc>(snapshotter, std::move(cleanup), log);
  grpc::ServerBuilder builder;
  int bound = 0;
  builder.AddListeningPort("unix:" + address, grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(&result->x_grpc->service);
  // Nobody but root may connect, from the socket's first moment.
  const mode_t umask_before = ::umask(0177);
  result->x_grpc->server = builder.BuildAndStart();
  ::umask(umask_before);
  if (!result->x_grpc->server || bound == 0) {
    return make_error(Errc::kIo, "cannot listen on " + address);
  }
  return result;
}

bool SnapshotServer::drain(std::chrono::seconds patience) {
  auto& server = *x_grpc->server;
  auto finished = std::async(std::launch::async, [&server] { server.Wait(); });
  // Past its deadline Shutdown cancels calls, which does not end a handler that waits for the
  // daemon.
  std::thread([&server, patience] {
    server.Shutdown(std::chrono::system_clock::now() + patience);
  }).detach();
  return finished.wait_for(patience) == std::future_status::ready;
}

}  // namespace dedup
