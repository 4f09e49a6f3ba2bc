// An aggregator's client in Go, as the original operators are: net/rpc with encoding/gob, or JSON-RPC with net/http.
// Nothing but the standard library, so that gob is Go's own.
//
// Each line of standard input is one call, {"method": "CreateTask", "params": {...}}; each line of standard output is its
// answer, {"result": {...}} or {"error": "...", "code": -32000}. Bytes are hex in both directions. With -concurrent all
// calls are sent before the first answer is awaited; answers still come in the order of the calls.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/rpc"
	"os"
	"strings"
	"time"
)

// Names and fields are those of the original's messages: gob finds fields by name.

type Bytes32 [32]byte

type Address [20]byte

type InitOperatorRequest struct {
	Layer1ChainId              uint32
	ChainId                    uint32
	OperatorId                 Bytes32
	OperatorAddress            Address
	OperatorStateRetrieverAddr Address
	RegistryCoordinatorAddr    Address
}

type InitOperatorResponse struct {
	Ok  bool
	Res string
}

type CreateTaskRequest struct {
	AlertHash Bytes32
}

type AlertTaskInfo struct {
	AlertHash                  Bytes32
	QuorumNumbers              []byte
	QuorumThresholdPercentages []byte
	TaskIndex                  uint32
	ReferenceBlockNumber       uint64
}

type CreateTaskResponse struct {
	Info AlertTaskInfo
}

// Element is a field element of BN254: little-endian limbs in Montgomery form.
type Element [4]uint64

type G1Affine struct {
	X, Y Element
}

type G1Point struct {
	*G1Affine
}

type Signature struct {
	*G1Point
}

type SignedTaskRespRequest struct {
	Alert        AlertTaskInfo
	BlsSignature Signature
	OperatorId   Bytes32
}

type SignedTaskRespResponse struct {
	Reply  bool
	TxHash [32]byte
}

// What a line of standard input holds.
type call struct {
	Method string `json:"method"`
	Params params `json:"params"`
}

type params struct {
	Layer1ChainId              uint32 `json:"layer1_chain_id"`
	ChainId                    uint32 `json:"chain_id"`
	OperatorId                 string `json:"operator_id"`
	OperatorAddress            string `json:"operator_address"`
	OperatorStateRetrieverAddr string `json:"operator_state_retriever_addr"`
	RegistryCoordinatorAddr    string `json:"registry_coordinator_addr"`
	AlertHash                  string `json:"alert_hash"`
	Alert                      task   `json:"alert"`
	Signature                  string `json:"signature"`
}

// A task with its bytes in hex.
type task struct {
	AlertHash                  string `json:"alert_hash"`
	QuorumNumbers              string `json:"quorum_numbers"`
	QuorumThresholdPercentages string `json:"quorum_threshold_percentages"`
	TaskIndex                  uint32 `json:"task_index"`
	ReferenceBlockNumber       uint64 `json:"reference_block_number"`
}

type answer struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code,omitempty"`
}

func fromHex(text string) []byte {
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%q is no hex: %v\n", text, err)
		os.Exit(2)
	}
	return raw
}

func toHex(raw []byte) string {
	return "0x" + hex.EncodeToString(raw)
}

// montgomery gives the limbs of a big-endian field element.
func montgomery(raw []byte) (element Element) {
	modulus, _ := new(big.Int).SetString("21888242871839275222246405745257275088696311157297823662689037894645226208583", 10)
	number := new(big.Int).Lsh(new(big.Int).SetBytes(raw), 256)
	number.Mod(number, modulus)
	for limb := range element {
		element[limb] = number.Uint64()
		number.Rsh(number, 64)
	}
	return element
}

func (t task) info() AlertTaskInfo {
	info := AlertTaskInfo{
		QuorumNumbers:              fromHex(t.QuorumNumbers),
		QuorumThresholdPercentages: fromHex(t.QuorumThresholdPercentages),
		TaskIndex:                  t.TaskIndex,
		ReferenceBlockNumber:       t.ReferenceBlockNumber,
	}
	copy(info.AlertHash[:], fromHex(t.AlertHash))
	return info
}

func taskOf(info AlertTaskInfo) task {
	return task{
		AlertHash:                  toHex(info.AlertHash[:]),
		QuorumNumbers:              toHex(info.QuorumNumbers),
		QuorumThresholdPercentages: toHex(info.QuorumThresholdPercentages),
		TaskIndex:                  info.TaskIndex,
		ReferenceBlockNumber:       info.ReferenceBlockNumber,
	}
}

// startNetRpc sends a call; the function that it returns awaits the answer.
func startNetRpc(client *rpc.Client, c call) func() answer {
	var request, response any
	p := c.Params
	switch c.Method {
	case "InitOperator":
		init := &InitOperatorRequest{Layer1ChainId: p.Layer1ChainId, ChainId: p.ChainId}
		copy(init.OperatorId[:], fromHex(p.OperatorId))
		copy(init.OperatorAddress[:], fromHex(p.OperatorAddress))
		copy(init.OperatorStateRetrieverAddr[:], fromHex(p.OperatorStateRetrieverAddr))
		copy(init.RegistryCoordinatorAddr[:], fromHex(p.RegistryCoordinatorAddr))
		request, response = init, &InitOperatorResponse{}
	case "ProcessSignedTaskResponse":
		point := fromHex(p.Signature)
		if len(point) != 64 {
			fmt.Fprintln(os.Stderr, "a signature has 64 bytes")
			os.Exit(2)
		}
		signed := &SignedTaskRespRequest{
			Alert:        p.Alert.info(),
			BlsSignature: Signature{&G1Point{&G1Affine{montgomery(point[:32]), montgomery(point[32:])}}},
		}
		copy(signed.OperatorId[:], fromHex(p.OperatorId))
		request, response = signed, &SignedTaskRespResponse{}
	default: // unknown methods too, to see how they are refused
		create := &CreateTaskRequest{}
		copy(create.AlertHash[:], fromHex(p.AlertHash))
		request, response = create, &CreateTaskResponse{}
	}
	pending := client.Go("Aggregator."+c.Method, request, response, make(chan *rpc.Call, 1))
	return func() answer {
		select {
		case <-pending.Done:
		case <-time.After(time.Minute):
			return answer{Error: "no answer within a minute"}
		}
		if pending.Error != nil {
			return answer{Error: pending.Error.Error()}
		}
		switch response := response.(type) {
		case *InitOperatorResponse:
			return answer{Result: map[string]any{"ok": response.Ok, "reason": response.Res}}
		case *CreateTaskResponse:
			return answer{Result: taskOf(response.Info)}
		case *SignedTaskRespResponse:
			return answer{Result: map[string]any{"reply": response.Reply, "tx_hash": toHex(response.TxHash[:])}}
		}
		return answer{Error: "a response of no known type"}
	}
}

// wireTask is a task as it stands in JSON-RPC: encoding/json writes []byte as base64, as the original does.
type wireTask struct {
	AlertHash                  string `json:"alert_hash"`
	QuorumNumbers              []byte `json:"quorum_numbers"`
	QuorumThresholdPercentages []byte `json:"quorum_threshold_percentages"`
	TaskIndex                  uint32 `json:"task_index"`
	ReferenceBlockNumber       uint64 `json:"reference_block_number"`
}

type jsonAnswer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func callJson(client *http.Client, url string, id int, c call) (answer, error) {
	p := c.Params
	var positional []any
	switch c.Method {
	case "InitOperator":
		positional = []any{
			p.Layer1ChainId, p.ChainId, p.OperatorId, p.OperatorAddress, p.OperatorStateRetrieverAddr, p.RegistryCoordinatorAddr,
		}
	case "ProcessSignedTaskResponse":
		info := p.Alert.info()
		wire := wireTask{
			toHex(info.AlertHash[:]), info.QuorumNumbers, info.QuorumThresholdPercentages, info.TaskIndex, info.ReferenceBlockNumber,
		}
		positional = []any{wire, p.Signature, p.OperatorId}
	default:
		positional = []any{p.AlertHash}
	}
	method := "aggregator_" + strings.ToLower(c.Method[:1]) + c.Method[1:]
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": positional})
	if err != nil {
		return answer{}, err
	}
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	if response.StatusCode != http.StatusOK {
		return answer{Error: strings.TrimSpace(string(text)), Code: response.StatusCode}, nil
	}
	var parsed jsonAnswer
	if err := json.Unmarshal(text, &parsed); err != nil {
		return answer{}, err
	}
	if parsed.Error != nil {
		return answer{Error: parsed.Error.Message, Code: parsed.Error.Code}, nil
	}
	switch c.Method {
	case "CreateTask":
		var wire wireTask
		err = json.Unmarshal(parsed.Result, &wire)
		return answer{Result: task{
			wire.AlertHash, toHex(wire.QuorumNumbers), toHex(wire.QuorumThresholdPercentages), wire.TaskIndex, wire.ReferenceBlockNumber,
		}}, err
	case "ProcessSignedTaskResponse":
		var wire struct {
			Reply  bool   `json:"reply"`
			TxHash []byte `json:"tx_hash"`
		}
		err = json.Unmarshal(parsed.Result, &wire)
		return answer{Result: map[string]any{"reply": wire.Reply, "tx_hash": toHex(wire.TxHash)}}, err
	}
	return answer{Result: parsed.Result}, nil
}

// startJson does what startNetRpc does.
func startJson(client *http.Client, url string, id int, c call) func() answer {
	done := make(chan answer, 1)
	go func() {
		result, err := callJson(client, url, id, c)
		if err != nil {
			result = answer{Error: err.Error()}
		}
		done <- result
	}()
	return func() answer { return <-done }
}

func run() error {
	transport := flag.String("transport", "net_rpc", "net_rpc or jsonrpc")
	address := flag.String("address", "127.0.0.1:8090", "host:port of the aggregator")
	concurrent := flag.Bool("concurrent", false, "send all calls before the first answer is awaited")
	flag.Parse()

	var start func(id int, c call) func() answer
	switch *transport {
	case "net_rpc":
		client, err := rpc.DialHTTP("tcp", *address)
		if err != nil {
			return err
		}
		defer client.Close()
		start = func(_ int, c call) func() answer { return startNetRpc(client, c) }
	case "jsonrpc":
		client := &http.Client{Timeout: time.Minute}
		start = func(id int, c call) func() answer { return startJson(client, "http://"+*address, id, c) }
	default:
		return errors.New("-transport must be net_rpc or jsonrpc")
	}

	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	var pending []func() answer
	for id := 1; lines.Scan(); id++ {
		var c call
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		await := start(id, c)
		if *concurrent {
			pending = append(pending, await)
		} else if err := answers.Encode(await()); err != nil {
			return err
		}
	}
	for _, await := range pending {
		if err := answers.Encode(await()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
