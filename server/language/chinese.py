"""What the server says, in Chinese. English text → Chinese, with the same places in braces.

A place stands for whatever the code puts there; a text of this list among it is translated, too.
`tests/test_language.py` finds each text of the code here, and each of these in the code.
"""

from __future__ import annotations

# Of connections, tokens and addresses.
_ACCESS = {
    "this server needs an access token; ask its operator for it": "本服务器需要访问令牌；请向管理员索取",
    "the desk needs an access token of its own; ask its operator for it": (
        "坐席看板需要单独的访问令牌；请向管理员索取"
    ),
    "the desk is closed: server.token is set and monitor.token is not; set monitor.token to open it": (
        "坐席看板未开放：设置了 server.token 而没有设置 monitor.token；设置 monitor.token 即可开放"
    ),
    "this key does not open that; it lacks the scope {scope}": "此密钥无权这样做：它没有权限 {scope}",
    "too many wrong keys came from this address; try again later": "来自该地址的错误密钥过多；请稍后再试",
    "{path}: others can read or change the keys; chmod 600 (or 640) {again}": (
        "{path}：其他用户可以读取或修改密钥；请执行 chmod 600（或 640）{again}"
    ),
    "{path}: no file of keys: {where}: {why}": "{path}：不是密钥文件：{where}：{why}",
    "{path}: it holds {n} keys, and may hold no more": "{path}：已有 {n} 个密钥，不能再多",
    "{path}: cannot be written: {why}": "{path}：无法写入：{why}",
    "the key {id} is no longer valid: add another one": "密钥 {id} 已失效：请另建一个",
    "there is no key {id}; `keys list` names them": "没有密钥 {id}；`keys list` 列出全部密钥",
    "there is no scope {scope}; known: {scopes}": "没有权限 {scope}；可选：{scopes}",
    "no file of keys is named: set access.keys_file, or give --file": (
        "没有指定密钥文件：请设置 access.keys_file，或给出 --file"
    ),
    "{text} is no time: a number and m, h or d, as in 90m, 24h or 30d": (
        "{text} 不是时长：应为数字加 m、h 或 d，例如 90m、24h、30d"
    ),
    "the key {id} has been revoked": "密钥 {id} 已吊销",
    "this is the key; it is shown once, and kept nowhere:": "这就是密钥；只显示这一次，任何地方都不保存：",
    "this key has the {n} sessions that it may have; stop one first": (
        "该密钥允许的 {n} 个会话已全部打开；请先停止一个"
    ),
    "this key has had as much as it may have for now": "该密钥目前的额度已用完",
    "the server cannot count what this key uses now; tell its operator": (
        "服务器现在无法统计该密钥的用量；请告知管理员"
    ),
    "this session was taken up by another connection": "该会话已由另一个连接接管",
    "tokens are made with a key (access.keys_file)": "令牌须用密钥签发（access.keys_file）",
    "the token cannot be made: {field}: {why}": "无法签发令牌：{field}：{why}",
    "JSONP is not served": "不提供 JSONP",
    "cross-site request; the server's operator can add the page's origin to server.cors_origins": (
        "跨站请求；管理员可以把该页面的来源加入 server.cors_origins"
    ),
    "{host} is no host name of this server; its operator can add it to server.hosts": (
        "{host} 不是本服务器的主机名；管理员可以把它加入 server.hosts"
    ),
    "there is no {path} here{nearest}": "这里没有 {path}{nearest}",
    "; did you mean {path}?": "；您要找的是 {path} 吗？",
    "; /openapi.json lists what there is": "；全部地址见 /openapi.json",
    "{path} takes {methods}, not {method}": "{path} 只接受 {methods}，不接受 {method}",
    "{message}; send recordings to POST {address}": "{message}；录音请发送到 POST {address}",
    "internal server error; see the server log": "服务器内部错误；详见服务器日志",
}

# Of live sessions, and of what clients send.
_SESSIONS = {
    "this server has several workers, and polling would go from one to another; connect by WebSocket"
    " (transports: websocket)": (
        "此服务器有多个工作进程，轮询请求会落到不同的进程；请用 WebSocket 连接（transports: websocket）"
    ),
    "the worker that has this session does not answer; try again": "持有该会话的工作进程没有应答；请重试",
    "other workers are starting": "其他工作进程正在启动",
    "the parent process does not answer": "父进程没有应答",
    "several workers cannot share an address on this system; leave it at 1": (
        "此系统上多个工作进程不能共用一个地址；请保持为 1"
    ),
    "the first message must be a start: a JSON object of its fields": (
        "第一条消息必须是 start：由其字段组成的 JSON 对象"
    ),
    "'channel' must be one that is scored: {channels}": "'channel' 必须是被评分的声道之一：{channels}",
    "span needs 'begin_ms' and 'end_ms', the first of them smaller": (
        "span 需要 'begin_ms' 和 'end_ms'，且前者较小"
    ),
    "'present' must hold labels, each with a threshold from 0 to 1": (
        "'present' 须由标签组成，每个标签带一个 0 到 1 的阈值"
    ),
    "a call has to come as PCMU of 8000 Hz": "通话须以 8000 Hz 的 PCMU 传入",
    "a call has to come as audio/x-mulaw of 8000 Hz": "通话须以 8000 Hz 的 audio/x-mulaw 传入",
    "X-Twilio-Signature is not that of {url} and doors.twilio_auth_token": (
        "X-Twilio-Signature 不是由 {url} 和 doors.twilio_auth_token 得出的签名"
    ),
    "calls come from the networks in doors.audiosocket_from alone": (
        "通话只能来自 doors.audiosocket_from 中的网络"
    ),
    "the address must say what FreeSWITCH sends, as {example} does": (
        "地址须说明 FreeSWITCH 发送什么，如 {example}"
    ),
    "calls from Genesys are not taken: doors.genesys_api_key is not set": (
        "不接入来自 Genesys 的通话：未设置 doors.genesys_api_key"
    ),
    "the handshake is not signed with doors.genesys_client_secret": "握手未用 doors.genesys_client_secret 签名",
    "the channel must be one of: {formats}": "通道格式须为其中之一：{formats}",
    "the first message must be chan_websocket's MEDIA_START": "第一条消息必须是 chan_websocket 的 MEDIA_START",
    "a text message must be a JSON object": "文本消息必须是 JSON 对象",
    "{path} is a WebSocket: connect with ws:// or wss://": "{path} 是 WebSocket：请用 ws:// 或 wss:// 连接",
    "the server has all the connections it may have": "服务器的连接数已满",
    "not everything was scored in time; results still come": "部分音频未能及时得到得分；结果仍会陆续到达",
    "this server scores the {watched}'s voice only, and one channel may hold both: start with channels: 2,"
    " the {left} left and the {right} right": (
        "本服务器只对 {watched} 的声音评分，而一个声道可能含有双方的声音：请用 channels: 2 开始，"
        "左声道为 {left}，右声道为 {right}"
    ),
    "no session of this id belongs to this connection; send start": "本连接没有这个会话；请发送 start",
    "this connection's session has ended or was taken up by another; send start to open one": (
        "本连接的会话已结束，或已由另一个连接接管；请发送 start 新建会话"
    ),
    "there is no session; send start or audio_stream first": "还没有会话；请先发送 start 或 audio_stream",
    "the server takes no new sessions for the moment, so that those it has stay live; try again in {n} s": (
        "服务器暂不接受新会话，以保证现有会话的实时性；请 {n} 秒后重试"
    ),
    "the reference samples are being heard (files.samples)": "正在听取参考样本（files.samples）",
    "longer than {n} s": "长于 {n} 秒",
    "the server is shutting down; try again in a minute": "服务器正在关闭；请一分钟后重试",
    "the server is shutting down": "服务器正在关闭",
    "the model is still loading; try again in a few seconds": "模型仍在加载；请几秒后重试",
    "this resume_token is not that session's": "这个 resume_token 不属于该会话",
    "all {n} sessions are taken; try again later": "{n} 个会话已全部占用；请稍后重试",
    "one connection may hold {n} sessions (one of two channels counts twice); stop one first": (
        "一个连接最多同时有 {n} 个会话（双声道会话按两个计）；请先结束一个"
    ),
    "a session of this id is open; choose another id, or give its resume_token": (
        "这个标识的会话已经打开；请换一个标识，或给出它的 resume_token"
    ),
    "this session is being closed; start another one": "该会话正在关闭；请新建会话",
    "expected seq {expected}, got {seq}; resend from {again}": (
        "应为 seq {expected}，收到的是 {seq}；请从 {again} 开始重发"
    ),
    "the chunk holds {s} s of audio; send at most {most} s at a time": (
        "数据块含有 {s} 秒音频；每次最多发送 {most} 秒"
    ),
    "the chunk holds {size} bytes; send at most {most} at a time": (
        "数据块有 {size} 字节；每次最多发送 {most} 字节"
    ),
    "more than {s} s ahead of real time": "比实时超前了 {s} 秒以上",
    "{ahead}; resend this chunk a little later": "{ahead}；请稍后重发这个数据块",
    "more than {n} messages a second{advice}": "每秒消息超过 {n} 条{advice}",
    "; send longer chunks": "；请发送更长的数据块",
    "there is no event {event} here; known: {known}": "这里没有事件 {event}；可用的有：{known}",
    "expected one argument, got {n}": "应有一个参数，收到 {n} 个",
    "expected an object with fields, got {kind}": "应为含有字段的对象，收到的是 {kind}",
    "audio_stream needs 'chunk': base64 text or bytes": "audio_stream 需要 'chunk'：base64 文本或字节",
    "'seq' must not be negative": "'seq' 不能为负数",
    "'chunk' is not base64: {why}": "'chunk' 不是 base64：{why}",
    "unknown field {name}; known: {known}": "未知字段 {name}；可用的有：{known}",
    "{name} must be {wanted}, got {kind}": "{name} 必须是 {wanted}，收到的是 {kind}",
    "an integer": "整数",
    "text": "文本",
    "true or false": "true 或 false",
    "an object": "对象",
    "base64 text or bytes": "base64 文本或字节",
    "{name} must be text, got {kind}": "{name} 必须是文本，收到的是 {kind}",
    "{name} must be at most {n} printable characters": "{name} 最多 {n} 个可打印字符",
    "'tags' holds {n} pairs; give at most {most}": "'tags' 含有 {n} 对；最多 {most} 对",
    "'tags' has the key {key}; keys are {wanted}": "'tags' 含有键 {key}；键应为 {wanted}",
    "1 to 24 of a-z, 0-9, '-' and '_'": "1 到 24 个 a-z、0-9、'-' 和 '_'",
    "'session_id' must be 1 to {n} letters, digits, '-', '_' or '.'; or leave it out": (
        "'session_id' 必须是 1 到 {n} 个字母、数字、'-'、'_' 或 '.'；也可以不给"
    ),
    "'language' must be one of: {languages}": "'language' 必须是其中之一：{languages}",
    "encoding {encoding} is not known; send one of: {known}": "不认识编码 {encoding}；请使用其中之一：{known}",
    "sample rate {rate} Hz is out of range; send {least} to {most} Hz": (
        "采样率 {rate} Hz 超出范围；请发送 {least} 到 {most} Hz"
    ),
    "{n} channels; send 1 or 2": "声道数为 {n}；请发送 1 或 2 个声道",
    "this session has two channels, but the WAV holds one": "该会话有两个声道，而 WAV 只有一个",
    "the chunk holds more than {n} WAV recordings; send fewer at a time": (
        "数据块含有 {n} 段以上的 WAV 录音；请每次少发一些"
    ),
    "the chunk holds samples that are not finite numbers (NaN or infinity)": (
        "数据块中的采样点不是有限数（NaN 或无穷大）"
    ),
    "the audio was declared as WAV but does not begin with a RIFF/WAVE header": (
        "音频声明为 WAV，但开头不是 RIFF/WAVE 文件头"
    ),
    "no audio within the first {n} bytes of the WAV header": "WAV 文件头的前 {n} 字节内没有音频",
    "the WAV header's 'fmt ' chunk is too short": "WAV 文件头的 'fmt ' 块太短",
    "the WAV header has no 'fmt ' chunk before its data": "WAV 文件头在数据之前没有 'fmt ' 块",
    "this is audio in a container ({kind}), which is not read here; send PCM or WAV, or all of it as a file": (
        "这是封装格式的音频（{kind}），这里不读取；请发送 PCM 或 WAV，或者把整段作为文件发送"
    ),
    "this is audio in a container ({kind}); start the session with encoding: auto to have it read": (
        "这是封装格式的音频（{kind}）；请用 encoding: auto 开始会话，即可读取"
    ),
    "this server cannot decode containers; send PCM or WAV": "本服务器不能解码封装格式的音频；请发送 PCM 或 WAV",
    "all {n} decoders of audio in containers are taken; send PCM, or try again later": (
        "{n} 个封装音频解码器已全部占用；请发送 PCM，或稍后重试"
    ),
    "the process that decoded this audio has ended; begin its container anew": (
        "解码这段音频的进程已经结束；请重新从头开始发送封装音频"
    ),
    "decoding it takes more computing than live audio may": "解码它所需的计算量超过了实时音频的上限",
    "this session has two channels, but the audio holds one": "该会话有两个声道，而音频只有一个",
    "{why}; send it as a file": "{why}；请作为文件发送",
    "this MP4 is not written to be read as it comes (fragmented)": "这个 MP4 不是可以边收边读的写法（分片 MP4）",
    "encrypted audio cannot be read; send {formats}": "无法读取加密的音频；请发送 {formats}",
    "encoding {encoding}: a stream takes samples and WAV; use analyze() for {again}": (
        "编码 {encoding}：流只接受采样点和 WAV；{again} 请使用 analyze()"
    ),
    "WAV format {tag} with {bits} bits is not read; send PCM of 8 to 32 bits, float, A-law or u-law": (
        "不支持 {bits} 位的 WAV 格式 {tag}；请发送 8 到 32 位 PCM、浮点、A-law 或 u-law"
    ),
    "the speech {between} got no scores in time": "{between}的语音未能及时得到得分",
    "from {start} to {end} ms": "{start} 至 {end} 毫秒",
    "this stream has ended; begin another with stream()": "这个流已经结束；请用 stream() 新建一个",
}

# Of the desk and of recorded sessions.
_DESK = {
    "all {n} desks are taken; close another, or raise monitor.max_desks": (
        "{n} 个坐席看板已全部占用；请关闭一个，或调高 monitor.max_desks"
    ),
    "list takes no fields": "list 没有字段",
    "a desk may have {n} sessions open; close one of them first": "一个坐席看板最多打开 {n} 个会话；请先关闭一个",
    "a desk may choose {n} sessions; subscribe to all instead": "一个坐席看板最多选择 {n} 个会话；请改为订阅全部",
    "'session_id' is missing: which session?": "缺少 'session_id'：是哪个会话？",
    "no session of this id is on the board; `list` names those that are": (
        "看板上没有这个标识的会话；`list` 列出现有的会话"
    ),
    "no such record; records are kept for a limited time": "没有这条记录；记录只保留一段时间",
    "'limit' must be a number from 1 to {n}": "'limit' 必须是 1 到 {n} 的数",
}

# Of the model and its engine.
_ENGINE = {
    "the model is loading": "模型正在加载",
    "the model holds too many windows": "模型待处理的窗口过多",
    "the engine is shutting down": "推理引擎正在关闭",
    "the engine holds as many windows as it may": "推理引擎待处理的窗口已满",
    "no replica of the model answers": "没有模型副本应答",
    "engine.kind: ray needs Ray, which is not installed: ./run.sh install ray, or"
    " pip install 'emotion-stream[ray]'": (
        "engine.kind: ray 需要 Ray，但它没有安装：./run.sh install ray，或 pip install 'emotion-stream[ray]'"
    ),
    "redis.url needs the client of Redis, which is not installed: ./run.sh install redis, or"
    " pip install 'emotion-stream[redis]'": (
        "redis.url 需要 Redis 的客户端，但未安装：./run.sh install redis，或 pip install 'emotion-stream[redis]'"
    ),
    "redis.url cannot be read; expected redis://user:password@host:6379/0": (
        "redis.url 无法读取；应为 redis://user:password@host:6379/0"
    ),
    "expected redis://, rediss:// or unix://, and where the Redis is": (
        "应为 redis://、rediss:// 或 unix://，后接 Redis 的地址"
    ),
    "the server that has this session does not answer; try again": "拥有该会话的服务器没有应答；请重试",
    "the Ray cluster {address} cannot be reached ({why}); `ray start --head` starts one on this machine,"
    " engine.ray_address names another": (
        "无法连接 Ray 集群 {address}（{why}）；`ray start --head` 在本机启动一个，engine.ray_address 指定另一个"
    ),
    "the Ray cluster cannot start a replica ({why}); docs/engines.md says what its machines need": (
        "Ray 集群无法启动副本（{why}）；集群中的机器需要什么，见 docs/engines.zh.md"
    ),
    "the model process is being replaced": "模型进程正在更换",
    "the model process ended: {why}; restarting": "模型进程已结束：{why}；正在重启",
    "the model process ended twice on it": "模型进程两次因它而结束",
    "the model gave scores that are not finite numbers": "模型给出的得分不是有限数",
    "the model gave scores of shape {shapes}, {n} rows were due": "模型给出的得分形状为 {shapes}，应有 {n} 行",
    "live streams have left no room for files for {s} s; try later": (
        "实时音频已有 {s} 秒没有给文件留出余地；请稍后重试"
    ),
    "no scores within {s} s": "{s} 秒内没有得分",
    "the model is overloaded": "模型过载",
    "the model is overloaded; try again later": "模型过载；请稍后重试",
    "the model {name} gives no embeddings": "模型 {name} 不提供嵌入向量",
    "there is no speech in this recording": "录音中没有语音",
}

# Of recordings as they are decoded, and of the steps.
_FILES = {
    "the recording is damaged: {why}": "录音已损坏：{why}",
    "it cannot be read on after {s} s ({why})": "读到 {s} 秒之后无法继续（{why}）",
    "its header asks for more memory than a recording needs": "文件头要求的内存超过录音所需",
    "{bad} of its {n} packets cannot be decoded": "{n} 个数据包中有 {bad} 个无法解码",
    "it ends after {s} s of the {declared} s that its header declares: cut off?": (
        "文件头声明 {declared} 秒，但只有 {s} 秒：是否被截断？"
    ),
    "its header cannot be read ({why}): cut off or damaged?": "文件头无法读取（{why}）：是否被截断或损坏？",
    "its header declares audio in no form that makes sense (rate, channels)": (
        "文件头声明的音频格式不合理（采样率、声道数）"
    ),
    "{missing} of the {n} bytes of audio that its header declares are missing": (
        "文件头声明了 {n} 字节音频，缺少其中 {missing} 字节"
    ),
    "it holds samples that are not finite numbers": "其中的采样点不是有限数",
    "the recording holds no samples": "录音中没有采样点",
    "the file is empty": "文件是空的",
    "the file holds no audio track": "文件中没有音轨",
    "unsupported file format; send {formats}": "不支持的文件格式；请发送 {formats}",
    "unsupported codec {codec}; send {formats}": "不支持的编解码器 {codec}；请发送 {formats}",
    "unsupported sample rate {rate} Hz; {least} to {most} Hz are supported": (
        "不支持的采样率 {rate} Hz；支持 {least} 到 {most} Hz"
    ),
    "{n} channels; at most {most} are supported": "声道数为 {n}；最多支持 {most} 个声道",
    "longer than {s} s; cut it up (files.max_audio_s)": "长于 {s} 秒；请分段发送（files.max_audio_s）",
    "decoding takes more than {s} s of CPU time (files.cpu_s)": "解码需要的 CPU 时间超过 {s} 秒（files.cpu_s）",
    "the process that decoded the file has ended; see the server log": "解码该文件的进程已结束；详见服务器日志",
    "the recording takes more memory than any should": "录音所需的内存过多",
    "the result cannot be saved: {why}": "结果无法保存：{why}",
    "cannot be opened: {why}": "无法打开：{why}",
    "{n} bytes": "{n} 字节",
    "{container}, {codec}, {rate} Hz, {channels}": "{container}，{codec}，{rate} Hz，{channels}",
    "1 channel": "1 个声道",
    "{n} channels": "{n} 个声道",
    "{rate} Hz to {heard} Hz, mono": "{rate} Hz 转为 {heard} Hz，单声道",
    "{speech} s of speech in {all} s, {stretches}": "{all} 秒中有 {speech} 秒语音，{stretches}",
    "1 stretch": "共 1 段",
    "{n} stretches": "共 {n} 段",
    "{frames} frames in {windows} windows, {model} on {device}": (
        "{windows} 个窗口共 {frames} 帧，{model}（{device}）"
    ),
    "nothing kept": "未保存文件",
}

# Of uploads.
_UPLOADS = {
    "files are not taken here: this system cannot hand them to a process of its own; use `analyze`": (
        "这里不接受文件：本系统无法把文件交给单独的进程；请使用 `analyze`"
    ),
    "send multipart/form-data with the recording in the field 'audio_file'": (
        "请以 multipart/form-data 发送，录音放在字段 'audio_file' 中"
    ),
    "the multipart form is malformed or incomplete: {why}": "multipart 表单有误或不完整：{why}",
    "the recording is missing: send it in the field 'audio_file'": "缺少录音：请放在字段 'audio_file' 中发送",
    "the file is larger than {mb} MB (files.max_upload_mb)": "文件大于 {mb} MB（files.max_upload_mb）",
    "unknown field {name}{hint}; known: {known}": "未知字段 {name}{hint}；可用的有：{known}",
    "; the recording goes into 'audio_file'": "；录音应放在 'audio_file' 中",
    "{name} was sent twice; send one recording at a time": "{name} 发送了两次；每次只发一段录音",
    "{name} must be {wanted}": "{name} 必须是 {wanted}",
    "a file, with a filename": "带有文件名的文件",
    "text, not a file": "文本，而不是文件",
    "the upload broke off": "上传中断",
    "{name}: the value is too long": "{name}：值太长",
    "the upload is too slow: {n} bytes in {s} s{why}": "上传太慢：{s} 秒内 {n} 字节{why}",
    ", and others wait": "，而且有别人在等待",
    ", and {s} s are allowed (files.receive_s)": "，而上限为 {s} 秒（files.receive_s）",
    "the server is receiving the maximum number of files; try again in a few seconds": (
        "服务器正在接收的文件已达上限；请几秒后重试"
    ),
    "the server is processing the maximum number of files; try again in a few seconds": (
        "服务器正在处理的文件已达上限；请几秒后重试"
    ),
    "there is no room for more results: {why} (files.keep_gb); try again later": (
        "没有空间存放更多结果：{why}（files.keep_gb）；请稍后重试"
    ),
    "your recent uploads take half of all storage": "您最近的上传已占去一半的存储空间",
    "the storage is full of recent results": "存储空间已被最近的结果占满",
    "no such result; results are kept for a limited time": "没有这个结果；结果只保留一段时间",
    "the client has disconnected": "客户端已断开连接",
    "the server cannot save results now; tell its operator": "服务器现在无法保存结果；请告知管理员",
    "the server cannot save the file: {why}; tell its operator": "服务器无法保存文件：{why}；请告知管理员",
    "a fault of the disk": "磁盘故障",
}

# Of settings, for whoever starts a program.
_SETTINGS = {
    "These settings cannot be used:": "这些设置无法使用：",
    "unknown key{hint}": "未知的设置{hint}",
    ", did you mean {name}?": "，您要写的是 {name} 吗？",
    "{variable}: unknown environment variable{hint}": "{variable}：未知的环境变量{hint}",
    "{path}: there is no such file": "{path}：没有这个文件",
    "{path}: cannot be read: {why}": "{path}：无法读取：{why}",
    "{path}: not YAML: {why}": "{path}：不是 YAML：{why}",
    "command line": "命令行",
    "{source}: line {line}: {key}: {what}": "{source}：第 {line} 行：{key}：{what}",
    "{source}: settings: {what}": "{source}：设置：{what}",
    "{source}: {key}: {what}": "{source}：{key}：{what}",
    "{source}: line {line}: {key}: {what} (given: {value})": (
        "{source}：第 {line} 行：{key}：{what}（给出的是 {value}）"
    ),
    "{source}: {key}: {what} (given: {value})": "{source}：{key}：{what}（给出的是 {value}）",
    "environment: {why}: lists and sections there are written as JSON": (
        "环境变量：{why}：其中的列表和小节用 JSON 书写"
    ),
    "{path}: expected sections such as `server:` and `model:`, found a {kind}": (
        "{path}：应为 `server:`、`model:` 等小节，而不是 {kind}"
    ),
    "{source}: {old} is now {new}; the old name is accepted until version 0.3": (
        "{source}：{old} 现在叫 {new}；旧名称用到 0.3 版为止"
    ),
    "{source}: {old} and {new} are the same setting, the latter its new name: leave {leave} out": (
        "{source}：{old} 和 {new} 是同一项设置，后者是新名称：请去掉 {leave}"
    ),
    "server.host: {host} can be reached from the network, and anybody there could use this server: "
    "set server.token (EMOTION_SERVER__TOKEN=…), or server.open: true if everybody may": (
        "server.host：{host} 可以从网络访问，那里的任何人都可以使用本服务器："
        "请设置 server.token（EMOTION_SERVER__TOKEN=…），允许所有人使用时则设置 server.open: true"
    ),
    "{prior} is no prior: give {known}, or weights by label": "没有先验 {prior}：请给出 {known}，或各标签的权重",
    "there is no label {label}; labels: {labels}": "没有标签 {label}；标签有：{labels}",
    "the weight of {label} is not between 0.001 and 1000": "{label} 的权重不在 0.001 到 1000 之间",
    "precision float16 is for GPUs; on a CPU take bfloat16, float32, int8 or auto": (
        "精度 float16 只用于 GPU；在 CPU 上请用 bfloat16、float32、int8 或 auto"
    ),
    "{name} is no host name: give names alone, without scheme, port and path": (
        "{name} 不是主机名：请只写名称，不带协议、端口和路径"
    ),
    "left and right are both the {who}; one is the other's": "left 和 right 都是 {who}；其中一个应是另一方",
    "audio is kept with the record of its session: set sessions too": (
        "音频与会话记录一起保存：请同时设置 sessions"
    ),
    "stream.ring_s must exceed limits.max_ahead_s by a second, or audio is lost": (
        "stream.ring_s 必须比 limits.max_ahead_s 大一秒，否则会丢失音频"
    ),
    "limits.max_chunk_s must not exceed limits.max_ahead_s, or no such chunk is accepted": (
        "limits.max_chunk_s 不能大于 limits.max_ahead_s，否则这样的数据块都不会被接受"
    ),
    "stream.hop_ms: {ms} does not suit {model}; {wanted}": "stream.hop_ms：{ms} 不适合 {model}；{wanted}",
    "use a multiple of {n}": "请使用 {n} 的倍数",
    "stream.ring_s: {s} is too short for the windows of {model}": (
        "stream.ring_s：{s} 对 {model} 的窗口来说太短"
    ),
}

# Of alert rules and webhooks in the settings.
_RULES = {
    "a rule measures one of {measures}; {given}": "一条规则只量度其中之一：{measures}；{given}",
    "it has {measures}": "它有 {measures}",
    "it has none": "它一个也没有",
    "{measure} is so or not: leave above and below out": "{measure} 只有是与否：请去掉 above 和 below",
    "{measure} is never below 0: give thresholds from 0 to 1": "{measure} 不会低于 0：请给出 0 到 1 之间的阈值",
    "give one of above and below: from where on somebody is told": (
        "请给出 above 或 below 之一：从哪里开始要告知"
    ),
    "{measure} is about raised moods: give above": "{measure} 说的是情绪激动：请给出 above",
    "clear_below must not exceed above, or the alert is cleared as soon as raised": (
        "clear_below 不能大于 above，否则告警一触发就解除"
    ),
    "clear_above must not be under below, or the alert is cleared as soon as raised": (
        "clear_above 不能小于 below，否则告警一触发就解除"
    ),
    "{name} is the verdict where no rule was raised; choose another name": (
        "{name} 表示没有触发任何规则；请换一个名称"
    ),
    "{why}; write {doubled} for braces that are meant as such": "{why}；大括号本身请写成 {doubled}",
    "there is no {place}; a message may hold {known}": "没有 {place}；消息中可以用 {known}",
    "a field of the message is not written as it should be: {why}": "消息中有一处写法不对：{why}",
    "{measure} is a threshold itself: leave above and below out": "{measure} 本身就是阈值：请去掉 above 和 below",
    "{measure} is not about scores: leave hold_s and min_speech_s out": (
        "{measure} 与得分无关：请去掉 hold_s 和 min_speech_s"
    ),
    "silence_s is about both channels at once: leave window_s and channel out": (
        "silence_s 同时针对两个声道：请去掉 window_s 和 channel"
    ),
    "{measure} measures no scores: write a message without {place}": (
        "{measure} 不测量得分：请写一条不含 {place} 的消息"
    ),
    "share_of counts frames over a time: give window_s": "share_of 统计一段时间内的帧：请给出 window_s",
    "{measure} is said of utterances: leave window_s out": "{measure} 说的是语句：请去掉 window_s",
    "an utterance does not last: hold_s needs window_s": "语句谈不上持续：hold_s 需要 window_s",
    "both_raised is about both channels: leave channel out": "both_raised 说的是两个声道：请去掉 channel",
    "there is no environment variable {name}": "没有环境变量 {name}",
    "not an address that begins with http:// or https:// and names a host": (
        "不是以 http:// 或 https:// 开头并带有主机名的地址"
    ),
    "a robot is told of alerts alone; results go to a webhook of the kind json": (
        "机器人只接收告警；结果请发给 json 类型的 webhook"
    ),
    "not base64: give the client secret as it stands in Genesys": (
        "不是 base64：请原样填写 Genesys 中的 client secret"
    ),
    "the name {name} is there twice": "名称 {name} 出现了两次",
    "webhook {name} wants the rule {rule}, which does not exist": "webhook {name} 要的规则 {rule} 不存在",
}

# Of reference samples and custom labels, which settings name.
_NAMED = {
    "files.samples: {path}: {why}": "files.samples：{path}：{why}",
    "cannot be read": "无法读取",
    "holds {n} recordings and .npy files; 1 to {most} are compared with": (
        "有 {n} 个录音和 .npy 文件；可以比较的是 1 到 {most} 个"
    ),
    "the model {name} gives no embeddings to compare": "模型 {name} 不提供可以比较的嵌入向量",
    "holds two samples of one name": "有两个样本同名",
    "there is no speech in it": "其中没有语音",
    "larger than {n} MB": "大于 {n} MB",
    "{file}: larger than {n} MB": "{file}：大于 {n} MB",
    "{file} holds no result": "{file} 中没有结果",
    "{kind} {shape}: an embedding of this model is {n} finite numbers; give the recording": (
        "{kind} {shape}：该模型的嵌入向量是 {n} 个有限数；请改用录音"
    ),
    "it was made by {model}, and this is {ours}; give the recording": (
        "它由 {model} 生成，而这里是 {ours}；请改用录音"
    ),
    "it was made by a {model} with other weights; give the recording": (
        "它由另一份权重的 {model} 生成；请改用录音"
    ),
    "model.custom_labels: {why}": "model.custom_labels：{why}",
    "{folder}: no custom labels there: {why}": "{folder}：那里没有自定义标签：{why}",
    "{card}: too large": "{card}：太大",
    "{card}: not of format {format}": "{card}：不是格式 {format}",
    "{card}: 'labels' is not a list of names": "{card}：'labels' 不是名称的列表",
    "{card}: 2 to {most} different labels are read, not {n}": (
        "{card}：应有 2 到 {most} 个不同的标签，而不是 {n} 个"
    ),
    "{card}: 'embedding_size' is not a number up to {most}": "{card}：'embedding_size' 不是 {most} 以内的数",
    "{card}: no text in 'name' or 'model'": "{card}：'name' 或 'model' 中没有文本",
    "{card}: 'figures' has no fields": "{card}：'figures' 没有字段",
    "{weights}: more than its card tells": "{weights}：内容超出说明文件所述",
    "{weights}: {name} is not {shape} finite numbers of type float32": (
        "{weights}：{name} 不是 {shape} 的 float32 有限数"
    ),
    "{weights}: 'scale' holds numbers that are not above 0": "{weights}：'scale' 中有不大于 0 的数",
    "the labels {name} belong to {model}, not to {ours}: teach them again": (
        "标签 {name} 属于 {model}，而不是 {ours}：请重新训练"
    ),
    "{n} numbers, those of this {model} {size}": "{n} 个数，而这个 {model} 的有 {size} 个",
    "the labels {name} were trained on embeddings of {sizes}: teach them again": (
        "标签 {name} 训练所用的嵌入向量有 {sizes}：请重新训练"
    ),
    "the labels {name} belong to a {model} with other weights: teach them again": (
        "标签 {name} 属于另一份权重的 {model}：请重新训练"
    ),
}

# Of `tools`, on the terminal and on the board.
_TOOLS = {
    "{path}: there is no such folder": "{path}：没有这个文件夹",
    "{path}: no results there (result.json, or what `analyze --out` has written){first}": (
        "{path}：那里没有结果（result.json，或 `analyze --out` 写出的文件）{first}"
    ),
    "{path}: no results there (result.json, or what `analyze --out` has written)": (
        "{path}：那里没有结果（result.json，或 `analyze --out` 写出的文件）"
    ),
    "; the first that could not be read, {name}: {why}": "；第一个无法读取的是 {name}：{why}",
    "No results of {model} there; of: {models}": "那里没有 {model} 的结果；有的是：{models}",
    "None of the {n} results says when it was {when}.": "{n} 个结果都没有说明时间（{when}）。",
    "--zone {zone}: no such time zone; as in Europe/Berlin, Asia/Shanghai, UTC": (
        "--zone {zone}：没有这个时区；例如 Europe/Berlin、Asia/Shanghai、UTC"
    ),
    "{path} is there already: choose another --name or --out, or --replace it": (
        "{path} 已经存在：请换一个 --name 或 --out，或用 --replace 替换它"
    ),
    "None of the embeddings could be read; the first: {why}": "嵌入向量都无法读取；第一个：{why}",
    "No embeddings there. `analyze DIR --out DIR --embeddings` saves them, as does extract_embedding over REST.": (
        "那里没有嵌入向量。`analyze DIR --out DIR --embeddings` 会保存，REST 的 extract_embedding 也会。"
    ),
    "Embeddings of several models cannot be compared ({models}): choose with --of": (
        "不同模型的嵌入向量不能比较（{models}）：请用 --of 选择"
    ),
    "The query has {n} numbers, the embeddings of {model} {size}: they come from different models": (
        "查询的向量有 {n} 个数，{model} 的嵌入向量有 {size} 个：它们来自不同的模型"
    ),
    "There is nothing in that folder but the query itself.": "该文件夹中除了查询本身没有别的。",
    "--center needs three recordings or more: their mean is what is taken away": (
        "--center 需要三段以上录音：要减去的是它们的平均值"
    ),
    "{path}: there is no speech in it, so there is no embedding": "{path}：其中没有语音，因此没有嵌入向量",
    "{path}: holds no {name}": "{path}：其中没有 {name}",
    "Groups need {least} recordings with embeddings or more; there are {n}": (
        "分组至少需要 {least} 段带有嵌入向量的录音；现有 {n} 段"
    ),
    "-k: 2 to {most} groups can be made of {n} recordings": "-k：{n} 段录音可以分成 2 到 {most} 组",
    "-k: there are only {n} different embeddings": "-k：只有 {n} 个不同的嵌入向量",
    "--sample {n} is too few to find groups in": "--sample {n} 太少，找不出分组",
    "UMAP is not installed: .venv/bin/python -m pip install umap-learn; or --method pca": (
        "没有安装 UMAP：.venv/bin/python -m pip install umap-learn；或用 --method pca"
    ),
    "UMAP needs 15 recordings or more, and there are {n}: --method pca": (
        "UMAP 至少需要 15 段录音，现有 {n} 段：请用 --method pca"
    ),
    "{what} needs {library}, which is not installed: {command}": "{what} 需要 {library}，尚未安装：{command}",
    "Two labels or more are needed: a folder with a sub-folder of recordings for each": (
        "至少需要两个标签：一个文件夹，每个标签一个录音子文件夹"
    ),
    "Every label needs {least} clips or more, better {few} to 20; too few: {which}": (
        "每个标签至少需要 {least} 段录音，{few} 到 20 段更好；不够的有：{which}"
    ),
    "{n} labels; at most {most} can be taught": "有 {n} 个标签；最多可以训练 {most} 个",
    "{label}/{clip} is also in {other}: a clip has one label": (
        "{label}/{clip} 也在 {other} 中：一段录音只有一个标签"
    ),
    "The embeddings have different sizes ({sizes})": "嵌入向量的长度不同（{sizes}）",
    "--name {name}: letters, digits, '-', '_', '.' and spaces, 64 at most": (
        "--name {name}：只能用字母、数字、'-'、'_'、'.' 和空格，最多 64 个"
    ),
    "The model {name} gives no embeddings, so nothing can be taught to it": (
        "模型 {name} 不提供嵌入向量，因此无法训练"
    ),
    "The embeddings have {n} numbers, those of {model} {size}: they are another model's": (
        "嵌入向量有 {n} 个数，{model} 的有 {size} 个：它们属于另一个模型"
    ),
    "{path}: not JSON: {why}": "{path}：不是 JSON：{why}",
    "a label is 1 to {n} characters that can be seen": "标签是 1 到 {n} 个可见字符",
    "'numbers' is not a list of numbers": "'numbers' 不是数的列表",
    "'label' is not a text": "'label' 不是文本",
    "expected an object with fields": "应为含有字段的对象",
    # What could not be read, and why.
    "{n} could not be read:": "有 {n} 个无法读取：",
    "its line in the journal has changed meanwhile": "它在日志中的那一行在此期间变了",
    "{path}: expected an object with 'utterances'": "{path}：应为含有 'utterances' 的对象",
    "{path}: not a file": "{path}：不是文件",
    "not a file": "不是文件",
    "{path}: {n} bytes; at most {most} are read": "{path}：{n} 字节；最多读取 {most} 字节",
    "no text in {name}": "{name} 中没有文本",
    "no length of time in {name}": "{name} 中没有时长",
    "no date and time in {name}": "{name} 中没有日期和时间",
    "{name} does not say its time zone": "{name} 没有说明时区",
    "'scores' is not one number for each of the nine labels": "'scores' 不是九个标签各一个数",
    "neither 'scores' nor 'frame_scores'": "既没有 'scores' 也没有 'frame_scores'",
    "scores that are not rows of nine numbers": "分数不是每行九个数",
    "scores that are not probabilities": "分数不是概率",
    "{n} bytes: too large for an embedding (at most {most} numbers)": (
        "{n} 字节：对嵌入向量来说太大（最多 {most} 个数）"
    ),
    "cannot be read: {why}": "无法读取：{why}",
    "holds numbers that are not finite": "含有非有限的数",
    "holds zeros only": "全部是零",
    "empty": "为空",
    "not a NumPy .npy file": "不是 NumPy 的 .npy 文件",
    "version {major}.{minor} of the .npy format; 1.0 and 2.0 are read": (
        ".npy 格式的版本 {major}.{minor}；可读取 1.0 和 2.0"
    ),
    "its header cannot be read: {why}": "文件头无法读取：{why}",
    "holds Python objects, which are not loaded: they can run code": (
        "含有 Python 对象，不予加载：它们可以执行代码"
    ),
    "holds {dtype}; an embedding is float32": "数据类型是 {dtype}；嵌入向量应为 float32",
    "has the shape {shape}; an embedding is 1-D": "形状是 {shape}；嵌入向量是一维的",
    "has the shape {shape} (a row per frame?); an embedding is 1-D": (
        "形状是 {shape}（每帧一行？）；嵌入向量是一维的"
    ),
    "claims {n} numbers; 1 to {most} are read": "声称有 {n} 个数；可读取 1 到 {most} 个",
    "claims {n} numbers and holds {held}": "声称有 {n} 个数，实际有 {held} 个",
    "of {model}; the model that is set is {name}": "属于 {model}；当前设置的模型是 {name}",
    # What a command has done.
    "--centre is now --center; the old name is accepted until version 0.3": (
        "--centre 现名 --center；旧名到 0.3 版为止仍可使用"
    ),
    "Written: {path} and {other}": "已写入：{path} 和 {other}",
    "Written: {path}": "已写入：{path}",
    "{n} results. Written: {path}": "{n} 个结果。已写入：{path}",
    "{n} recordings with speech, {silent} without; {bins} bins (--by {by}, {zone}).": (
        "有语音的录音 {n} 段，没有的 {silent} 段；{bins} 个时段（--by {by}，{zone}）。"
    ),
    "{n} do not say when they were {when}, and are left out.": "{n} 个没有说明时间（{when}），未计入。",
    "{method}: {n} groups of {all} recordings, {alone} in none.": (
        "{method}：{all} 段录音分成 {n} 组，{alone} 段不属于任何一组。"
    ),
    "{n} groups of {all} recordings. Open {url} (Ctrl-C ends it)": (
        "{all} 段录音分成 {n} 组。请打开 {url}（Ctrl-C 结束）"
    ),
    "They run into each other: read them as a rough order, not as kinds.": (
        "各组彼此相连：请当作大致的顺序，而不是类别。"
    ),
    "{n} were laid out, the others placed beside their nearest (--sample).": (
        "{n} 个参与了布局，其余的放在离它最近的旁边（--sample）。"
    ),
    "{n} results have no embedding, and are left out.": "{n} 个结果没有嵌入向量，未计入。",
    "Use it: {command} analyze … --custom-labels {path}, or model.custom_labels in config.yaml": (
        "使用：{command} analyze … --custom-labels {path}，或 config.yaml 中的 model.custom_labels"
    ),
    "No Chinese font is installed, so the picture is in English: fonts-noto-cjk": (
        "没有安装中文字体，因此图片是英文的：fonts-noto-cjk"
    ),
    # How good labels of one's own are.
    "{name}  clips  found  taken for": "{name}  片段  找到  误认为",
    "On clips it has not heard: UAR {uar} ({low}–{high}), accuracy {accuracy}; chance is {chance}.": (
        "对没听过的片段：UAR {uar}（{low}–{high}），准确率 {accuracy}；随机水平是 {chance}。"
    ),
    "NO BETTER THAN CHANCE, as far as these clips can tell: do not rely on it. More clips may help.": (
        "就这些片段而言，不比随机猜测好：请不要依赖它。更多的片段可能有帮助。"
    ),
    "Sub-folders were kept apart: the figure is for voices (calls, days) it has not heard.": (
        "子文件夹彼此分开：这个数字针对没听过的声音（通话、日期）。"
    ),
    "For more clips of the same voices and places. Sub-folders by speaker would tell of new voices.": (
        "针对同样的声音和场所的更多片段。按说话人分子文件夹，才能说明对新声音的效果。"
    ),
    "With fewer than {few} clips of a label the interval is wide: 10 to 20 are better.": (
        "一个标签少于 {few} 段时区间很宽：10 到 20 段更好。"
    ),
    "{n} clips without speech were left out.": "{n} 段没有语音，未使用。",
    "{n} clips were there twice, and count once.": "{n} 段出现了两次，只算一次。",
}

CATALOG: dict[str, str] = {
    **_SETTINGS,
    **_RULES,
    **_NAMED,
    **_TOOLS,
    **_ACCESS,
    **_SESSIONS,
    **_DESK,
    **_ENGINE,
    **_FILES,
    **_UPLOADS,
}
